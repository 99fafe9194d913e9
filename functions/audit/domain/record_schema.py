"""The JSON Schema of a stored record, for whoever reads one from a bundle or from the archive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts.audit.v1 import EVENT_ID_PATTERN, MAX_SEQUENCE

_TEXT: Mapping[str, Any] = {"type": "string", "minLength": 1}
_TIME: Mapping[str, Any] = {"type": "string", "format": "date-time"}

RECORD_SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Audit record",
    "description": (
        "A record as it was stored: canonical JSON (RFC 8785), whose bytes are a leaf of the log."
    ),
    "type": "object",
    "required": [
        "schema",
        "event_id",
        "event_type",
        "timestamp",
        "resource",
        "action",
        "metadata",
        "reported_by",
    ],
    "properties": {
        "schema": {"const": 1},
        "event_id": {"type": "string", "pattern": EVENT_ID_PATTERN},
        "event_type": _TEXT,
        "timestamp": {**_TIME, "description": "When it was accepted, in UTC."},
        "resource": _TEXT,
        "action": _TEXT,
        "metadata": {"type": "object"},
        "reported_by": {**_TEXT, "description": "The role that reported it."},
        "user_id": {
            "type": "integer",
            "description": "Whose doing it was; stays when the personal fields are erased.",
        },
        "request_id": _TEXT,
        "session_id": _TEXT,
        "producer": _TEXT,
        "sequence": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_SEQUENCE,
            "description": "The producer's gapless count of its reports.",
        },
        "occurred_at": _TIME,
        "severity": {"enum": ["low", "medium", "high", "critical"]},
        "data_classification": {"enum": ["public", "internal", "confidential", "restricted"]},
        "masked": {
            "type": "array",
            "description": "What was replaced before the record was stored.",
            "items": {
                "type": "object",
                "required": ["path", "kinds"],
                "properties": {
                    "path": _TEXT,
                    "kinds": {"type": "array", "items": _TEXT},
                },
            },
        },
        "personal": {
            "type": "object",
            "description": (
                "Fields of the metadata under AES-256-GCM with a key of the person's, which can be"
                " deleted."
            ),
            "required": ["key_id", "fields", "ciphertext"],
            "properties": {
                "key_id": _TEXT,
                "fields": {"type": "array", "items": _TEXT},
                "ciphertext": {"type": "string", "contentEncoding": "base64"},
            },
        },
    },
}
