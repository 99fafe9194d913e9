"""What the functions share that take reports of attempts, and that look after dead letters."""

from __future__ import annotations

from functions.messaging.adapters.dynamodb_consumers import DynamoConsumers
from functions.messaging.adapters.dynamodb_events import DynamoEvents
from functions.messaging.adapters.dynamodb_letters import DynamoLetters
from functions.messaging.adapters.dynamodb_life import DynamoLife
from functions.messaging.domain.deliveries import DeliveryService
from servicekit.clock import utc_now
from servicekit.dynamodb import DynamoTable


def delivery_service(table: DynamoTable, retention_days: int) -> DeliveryService:
    """Takes reports into the table."""
    return DeliveryService(
        DynamoLife(table, utc_now, retention_days),
        DynamoLetters(table, utc_now, retention_days),
        DynamoEvents(table, retention_days),
        DynamoConsumers(table, retention_days),
        utc_now,
    )
