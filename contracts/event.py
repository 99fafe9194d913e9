"""How a service's contract names its events."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, ClassVar

from contracts.base import WireModel
from contracts.json_schema import json_schema


class EventPayload(WireModel):
    """What an event says; the class knows of which type it is.

    Events carry ids, states and figures, never what somebody wrote. Fields may be added to a type,
    optional ones alone; whatever else changes is another type.
    """

    EVENT_TYPE: ClassVar[str]


@dataclass(frozen=True, slots=True)
class EventType:
    """One type of event: its model, and a payload as it looks on the wire."""

    model: type[EventPayload]
    example: dict[str, Any]

    @property
    def name(self) -> str:
        """Its name, which is its `detail-type` on the bus."""
        return self.model.EVENT_TYPE

    @property
    def description(self) -> str:
        """When it is told."""
        return inspect.cleandoc(self.model.__doc__ or "")

    @property
    def schema_path(self) -> str:
        """Where its schema is among the contracts."""
        return schema_path(self.name)

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of its payload, as publishers must send it and consumers may rely on."""
        return json_schema(self.model, "validation")


def schema_path(event_type: str) -> str:
    """Where a type's schema is among the contracts."""
    return f"contracts/events/{event_type}/v1.schema.json"
