"""Whether the service runs."""

from __future__ import annotations

from contracts.health_operations import health_operations

OPERATIONS = health_operations("message-queue-service", tag="control")
