"""The dependencies of the calls."""

from __future__ import annotations

import asyncio

from contracts.browser.sessions import SYNCHRONOUS_SECONDS
from contracts.browser.worker import Egress
from functions.browser.adapters.dynamodb_sessions import DynamoSessions
from functions.browser.adapters.s3_objects import S3Objects
from functions.browser.adapters.worker_function import WorkerFunction
from functions.browser.bootstrap.common import PRODUCER, begin, limits
from functions.browser.domain.artifacts import Artifacts
from functions.browser.domain.dependencies import Api
from functions.browser.domain.dispatch import Dispatcher
from functions.browser.domain.leases import Leases
from functions.browser.domain.sessions import Sessions
from functions.browser.domain.tasks import Tasks
from functions.browser.settings import ApiSettings
from servicekit.audit import AuditTrail
from servicekit.audit_outbox import DynamoOutbox
from servicekit.clock import utc_now
from servicekit.dynamodb import DynamoRecords, DynamoTable
from servicekit.idempotency import Idempotency

_KEYS_LAST_SECONDS = 24 * 3600


def api_from_environment() -> Api:
    """Raises `SettingsError`."""
    settings = ApiSettings.from_environment()
    begin(settings)
    table = DynamoTable(settings.table_name)
    store = DynamoSessions(table)
    trail = AuditTrail(DynamoOutbox(table, PRODUCER), utc_now)
    idempotency = Idempotency(DynamoRecords(table), utc_now, _KEYS_LAST_SECONDS)
    objects = S3Objects(settings.objects_bucket)
    sessions = Sessions(store, idempotency, trail, objects, limits(settings), utc_now)
    worker = WorkerFunction(
        settings.worker_function,
        tenants=settings.worker_tenants,
        wait_seconds=SYNCHRONOUS_SECONDS + 3,
    )
    egress = Egress(sites=settings.sites, strict=settings.egress_strict)
    leases = Leases(store, limits(settings), utc_now, asyncio.sleep)
    dispatcher = Dispatcher(sessions, leases, worker, objects, trail, egress)
    return Api(
        service_name=settings.powertools_service_name,
        checks={"sessions": lambda: store.held("POOL")},
        sessions=sessions,
        dispatcher=dispatcher,
        artifacts=Artifacts(sessions, objects),
        tasks=Tasks(sessions, dispatcher),
    )
