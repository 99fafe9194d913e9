"""What the functions' dependencies are made with."""

from __future__ import annotations

from functions.messaging.settings import BaseSettings
from servicekit.audit import AuditTrail
from servicekit.audit_outbox import DynamoOutbox
from servicekit.dynamodb import DynamoTable
from servicekit.logging import configure_logging

PRODUCER = "messaging"
"""First part of the producers' names in this service's audit records."""


def begin(settings: BaseSettings) -> None:
    """Whatever comes before anything else in a process."""
    configure_logging(settings.powertools_service_name, settings.powertools_log_level)


def audit_trail(table: DynamoTable) -> AuditTrail:
    """Records of permissioned operations, by the outbox in the table."""
    return AuditTrail(DynamoOutbox(table, PRODUCER))
