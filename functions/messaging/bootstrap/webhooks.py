"""What webhooks are made of: subscriptions, their worker, and the sweep."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from contracts.messaging.envelope import SOURCE_PREFIX
from functions.messaging.adapters.dynamodb_deliveries import DynamoDeliveries
from functions.messaging.adapters.dynamodb_endpoints import DynamoEndpoints
from functions.messaging.adapters.dynamodb_events import DynamoEvents
from functions.messaging.adapters.dynamodb_letters import DynamoLetters
from functions.messaging.adapters.dynamodb_life import DynamoLife
from functions.messaging.adapters.dynamodb_order import DynamoCursors, DynamoKeyLog
from functions.messaging.adapters.dynamodb_subscriptions import DynamoSubscriptions
from functions.messaging.adapters.eventbridge import EventBridgeBus
from functions.messaging.adapters.schemas import EventSchemas
from functions.messaging.adapters.sqs_webhooks import SqsDeliveries, SqsHolder
from functions.messaging.adapters.webhook_http import WebhookHttp
from functions.messaging.bootstrap.common import PRODUCER, begin
from functions.messaging.domain.dependencies import Deliver
from functions.messaging.domain.envelopes import StoredEnvelopes
from functions.messaging.domain.publishing import Publishing
from functions.messaging.domain.subscription_service import SubscriptionService, WebhookStores
from functions.messaging.domain.webhook_announcements import Announcements, publishing_as
from functions.messaging.domain.webhook_attempts import Attempts, AttemptStores
from functions.messaging.domain.webhook_audit import SubscriptionAudit
from functions.messaging.domain.webhook_disabling import Disabler, Limits, Telling
from functions.messaging.domain.webhook_fanout import SubscriptionCache, WebhookFanout
from functions.messaging.domain.webhook_order import OrderedWorker, OrderStores
from functions.messaging.domain.webhook_redeliveries import WebhookRedeliveries
from functions.messaging.domain.webhook_requests import WebhookRequests
from functions.messaging.domain.webhook_sweep import DueSweep
from functions.messaging.domain.webhook_worker import DeliveryWorker
from functions.messaging.settings import (
    ControlSettings,
    DeliverSettings,
    DueSettings,
    WebhookQueueSettings,
)
from servicekit.audit import AuditTrail
from servicekit.audit_outbox import DynamoOutbox
from servicekit.clock import utc_now
from servicekit.dynamodb import DynamoRecords, DynamoTable
from servicekit.idempotency import Idempotency


def subscription_service(settings: ControlSettings, table: DynamoTable) -> SubscriptionService:
    """What callers do with subscriptions."""
    window = settings.idempotency_window_seconds
    return SubscriptionService(
        WebhookStores(
            DynamoSubscriptions(table),
            DynamoDeliveries(table, settings.event_retention_days),
            DynamoEndpoints(table, utc_now, settings.event_retention_days),
        ),
        WebhookHttp(local=settings.webhooks_on_loopback),
        Idempotency(DynamoRecords(table), utc_now, window),
        _audit(table),
        utc_now,
    )


def fanout(settings: WebhookQueueSettings, table: DynamoTable) -> WebhookFanout:
    """`fanout.Fanout`, for whoever takes events off the streams."""
    return WebhookFanout(
        SubscriptionCache(DynamoSubscriptions(table)),
        DynamoDeliveries(table, settings.event_retention_days),
        _queue(settings),
        utc_now,
    )


def redeliveries(settings: WebhookQueueSettings, table: DynamoTable) -> WebhookRedeliveries:
    """`dead_letters.Redeliveries` of subscriptions, for whoever redrives."""
    return WebhookRedeliveries(
        DynamoDeliveries(table, settings.event_retention_days), _queue(settings), utc_now
    )


def deliver_from_environment() -> Deliver:
    """The worker's dependencies. Raises `SettingsError`."""
    settings = DeliverSettings.from_environment()
    begin(settings)
    table = DynamoTable(settings.table_name)
    queue = _queue(settings)
    days = settings.event_retention_days
    subscriptions = DynamoSubscriptions(table)
    deliveries = DynamoDeliveries(table, days)
    events = StoredEnvelopes(DynamoEvents(table, days), EventSchemas())
    disabler = Disabler(
        subscriptions,
        _audit(table),
        _telling(settings, table),
        Limits(timedelta(hours=settings.webhook_failing_hours), settings.webhook_failing_dead),
        utc_now,
    )
    attempts = Attempts(
        AttemptStores(
            subscriptions,
            deliveries,
            DynamoEndpoints(table, utc_now, days),
            events,
            DynamoLife(table, utc_now, days),
            DynamoLetters(table, utc_now, days),
        ),
        WebhookRequests(WebhookHttp(local=settings.webhooks_on_loopback), utc_now),
        disabler,
        utc_now,
    )
    stores = OrderStores(
        subscriptions, deliveries, events, DynamoKeyLog(table), DynamoCursors(table, utc_now, days)
    )
    return Deliver(
        DeliveryWorker(subscriptions, deliveries, attempts, queue, utc_now),
        OrderedWorker(stores, attempts, utc_now),
        partial(SqsHolder, queue),
    )


def due_from_environment() -> DueSweep:
    """The sweep. Raises `SettingsError`."""
    settings = DueSettings.from_environment()
    begin(settings)
    table = DynamoTable(settings.table_name)
    return DueSweep(
        DynamoDeliveries(table, settings.event_retention_days),
        _queue(settings),
        _telling(settings, table),
        utc_now,
    )


def _queue(settings: WebhookQueueSettings) -> SqsDeliveries:
    return SqsDeliveries(settings.deliveries_queue_url, settings.ordered_deliveries_queue_url)


def _audit(table: DynamoTable) -> SubscriptionAudit:
    return SubscriptionAudit(AuditTrail(DynamoOutbox(table, PRODUCER), utc_now))


def _telling(settings: DueSettings, table: DynamoTable) -> Telling:
    publishing = Publishing(
        DynamoEvents(table, settings.event_retention_days),
        EventBridgeBus(settings.event_bus),
        EventSchemas(),
        utc_now,
    )
    source = f"{SOURCE_PREFIX}{PRODUCER}"
    return Telling(DynamoSubscriptions(table), Announcements(publishing_as(source, publishing)))
