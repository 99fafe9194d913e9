"""The dependencies of the calls that read and administrate."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from functions.messaging.adapters.dynamodb_consumers import DynamoConsumers
from functions.messaging.adapters.dynamodb_events import DynamoEvents
from functions.messaging.adapters.dynamodb_letters import DynamoLetters
from functions.messaging.adapters.dynamodb_life import DynamoLife
from functions.messaging.adapters.dynamodb_redrives import DynamoRedrives
from functions.messaging.adapters.dynamodb_replays import DynamoReplays
from functions.messaging.adapters.eventbridge_archive import EventBridgeArchive
from functions.messaging.adapters.queue_figures import QueueFigures
from functions.messaging.adapters.sqs_tasks import SqsTasks
from functions.messaging.bootstrap.common import PRODUCER, begin
from functions.messaging.bootstrap.progress import ticket_service
from functions.messaging.bootstrap.webhooks import subscription_service
from functions.messaging.domain.audit import Operations
from functions.messaging.domain.dependencies import Control
from functions.messaging.domain.event_life import EventReader
from functions.messaging.domain.figures import StreamService
from functions.messaging.domain.redrives import DeadLetterService
from functions.messaging.domain.replays import ReplayService
from functions.messaging.settings import ControlSettings
from servicekit.audit import AuditTrail
from servicekit.audit_outbox import DynamoOutbox
from servicekit.clock import utc_now
from servicekit.dynamodb import DynamoTable


def control_from_environment() -> Control:
    """Raises `SettingsError`."""
    settings = ControlSettings.from_environment()
    begin(settings)
    table = DynamoTable(settings.table_name)
    kept = settings.event_retention_days
    life = DynamoLife(table, utc_now, kept)
    letters = DynamoLetters(table, utc_now, kept)
    operations = Operations(AuditTrail(DynamoOutbox(table, PRODUCER)))
    return Control(
        service_name=settings.powertools_service_name,
        checks={"dynamodb": partial(table.get, {"pk": "READY", "sk": "READY"})},
        events=EventReader(DynamoEvents(table, kept), life),
        letters=DeadLetterService(
            letters,
            life,
            DynamoRedrives(table, utc_now, kept),
            SqsTasks(settings.tasks_queue_url),
            operations,
            utc_now,
        ),
        replays=ReplayService(
            DynamoReplays(table, utc_now, kept),
            EventBridgeArchive(
                settings.event_archive_arn, settings.event_bus_arn, settings.stream_queue_prefix
            ),
            operations,
            utc_now,
            timedelta(days=kept),
        ),
        streams=StreamService(
            QueueFigures(settings.stream_queue_url, settings.stream_queue_prefix, utc_now),
            letters,
            DynamoConsumers(table, kept),
        ),
        tickets=ticket_service(settings, table),
        subscriptions=subscription_service(settings, table),
    )
