"""The dependencies of what the service does later."""

from __future__ import annotations

from functions.messaging.adapters.dynamodb_events import DynamoEvents
from functions.messaging.adapters.dynamodb_letters import DynamoLetters
from functions.messaging.adapters.dynamodb_life import DynamoLife
from functions.messaging.adapters.dynamodb_redrives import DynamoRedrives
from functions.messaging.adapters.eventbridge import EventBridgeBus
from functions.messaging.adapters.schemas import EventSchemas
from functions.messaging.adapters.sqs_tasks import SqsTasks
from functions.messaging.bootstrap.common import begin
from functions.messaging.bootstrap.webhooks import redeliveries
from functions.messaging.domain.dependencies import Tasks
from functions.messaging.domain.envelopes import StoredEnvelopes
from functions.messaging.domain.redrive_worker import RedriveWorker
from functions.messaging.settings import TasksSettings
from servicekit.clock import utc_now
from servicekit.dynamodb import DynamoTable


def tasks_from_environment() -> Tasks:
    """Raises `SettingsError`."""
    settings = TasksSettings.from_environment()
    begin(settings)
    table = DynamoTable(settings.table_name)
    kept = settings.event_retention_days
    return Tasks(
        redrives=RedriveWorker(
            redrives=DynamoRedrives(table, utc_now, kept),
            shelf=DynamoLetters(table, utc_now, kept),
            events=StoredEnvelopes(DynamoEvents(table, kept), EventSchemas()),
            bus=EventBridgeBus(settings.event_bus),
            redeliveries=redeliveries(settings, table),
            life=DynamoLife(table, utc_now, kept),
            tasks=SqsTasks(settings.tasks_queue_url),
            clock=utc_now,
        )
    )
