"""The dependencies of the function that brings audit records to the audit sink."""

from __future__ import annotations

from contracts.audit.sink import AuditSink
from functions.browser.bootstrap.common import PRODUCER, begin
from functions.browser.settings import AuditSettings
from servicekit.audit_outbox import DynamoOutboxReader
from servicekit.audit_sender import AuditSender
from servicekit.dynamodb import DynamoTable
from servicekit.metrics import CloudWatchMetrics
from servicekit.parameters import Parameter


def audit_from_environment() -> AuditSender:
    """Raises `SettingsError`."""
    settings = AuditSettings.from_environment()
    begin(settings)
    return AuditSender(
        DynamoOutboxReader(DynamoTable(settings.table_name), PRODUCER),
        AuditSink(Parameter(settings.audit_url_parameter)),
        CloudWatchMetrics(f"Santaclaude/{settings.environment}/{PRODUCER}"),
    )
