"""Bodies of publishing as they look on the wire."""

from __future__ import annotations

from typing import Any

from contracts.messaging.registry import EVENT_TYPES
from contracts.messaging.streams import stream_of

EVENT_ID = "01KASM0T3ZJ8W6Q1XN5V7D2B4C"
CHAIN_ID = "01KASM0SZZK0V8W3T5Q7R9N1B2"

_MOVED = EVENT_TYPES["card.moved"]
_ACCEPTED_AT = "2026-01-05T09:30:00.301000Z"
_PUBLISHED_AT = "2026-01-05T09:30:00.312000Z"

EVENT_CREATE: dict[str, Any] = {
    "event_type": _MOVED.name,
    "payload": _MOVED.example,
    "id": EVENT_ID,
    "correlation_id": CHAIN_ID,
    "causation_id": CHAIN_ID,
    "user_id": 3,
    "ordering_key": "card:42",
    "timestamp": "2026-01-05T09:30:00.218Z",
}

BATCH: dict[str, Any] = {"events": [EVENT_CREATE]}

ACCEPTED: dict[str, Any] = {"message_id": EVENT_ID, "correlation_id": CHAIN_ID}

BATCH_RESULT: dict[str, Any] = {
    "message": "1 of 2 events accepted",
    "event_count": 1,
    "results": [
        {"index": 0, "status": 202, **ACCEPTED},
        {
            "index": 1,
            "status": 422,
            "error": {
                "type": "about:blank",
                "title": "The request does not meet the contract",
                "status": 422,
                "code": "invalid_request",
                "errors": [{"field": "payload.card_id", "message": "must be integer"}],
            },
        },
    ],
}

SUMMARY: dict[str, Any] = {
    "id": EVENT_ID,
    "event_type": _MOVED.name,
    "stream": stream_of(_MOVED.name),
    "source": "santaclaude.projectflow",
    "tenant": "project:7",
    "correlation_id": CHAIN_ID,
    "causation_id": CHAIN_ID,
    "ordering_key": "card:42",
    "request_id": "req-5f2c",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "user_id": 3,
    "retry_count": 0,
    "timestamp": "2026-01-05T09:30:00.218000Z",
    "accepted_at": _ACCEPTED_AT,
    "published_at": _PUBLISHED_AT,
}

LIFE: dict[str, Any] = {
    **SUMMARY,
    "state": "delivered",
    "payload": _MOVED.example,
    "moments": [
        {"kind": "accepted", "at": _ACCEPTED_AT, "details": {}},
        {"kind": "published", "at": _PUBLISHED_AT, "details": {}},
        {"kind": "routed", "at": _PUBLISHED_AT, "consumer": "kanban-events", "details": {}},
        {
            "kind": "attempted",
            "at": "2026-01-05T09:30:00.402000Z",
            "consumer": "kanban-events",
            "attempt": 1,
            "details": {"outcome": "succeeded", "duration_ms": 12},
        },
    ],
}

CHAIN: dict[str, Any] = {"events": [SUMMARY], "has_more": False, "next_cursor": None}

EVENT_TYPE_LIST: dict[str, Any] = {
    "event_types": [
        {
            "event_type": _MOVED.name,
            "stream": stream_of(_MOVED.name),
            "description": _MOVED.description,
            "schema_path": _MOVED.schema_path,
            "payload_schema": _MOVED.schema(),
            "example": _MOVED.example,
        }
    ]
}
