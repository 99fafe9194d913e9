"""Bodies of audit v1 as they look on the wire."""

from __future__ import annotations

from typing import Any

EVENT_ID = "01KASM0T3ZJ8W6Q1XN5V7D2B4C"
EXPORT_ID = "01KASM9C5B2H6K3T8Y4R1WQ7ZE"
TIMESTAMP = "2026-01-05T09:30:00.218000Z"
PRINCIPAL = "arn:aws:sts::123456789012:assumed-role/santaclaude-prod-projectflow"
ROOT_HASH = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
LEAF_HASH = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
LOG_NAME = "santaclaude-prod-audit"
PUBLIC_KEY = f"{LOG_NAME}+7a1b0c3d+AWh0bXBzOi8vZXhhbXBsZS5jb20vYXVkaXQvbG9nLzE="

EVENT_CREATE: dict[str, Any] = {
    "event_type": "card.moved",
    "user_id": 3,
    "resource": "project/7/card/42",
    "action": "move",
    "metadata": {"from": "todo", "to": "done", "ip_address": "203.0.113.7"},
    "request_id": "req-5f2c",
    "session_id": None,
    "event_id": EVENT_ID,
    "producer": "projectflow",
    "sequence": 1841,
    "occurred_at": "2026-01-05T09:29:58Z",
}

USER_EVENT_CREATE: dict[str, Any] = {
    "user_id": 3,
    "resource": "project/7",
    "action": "open",
    "metadata": {"user_agent": "Mozilla/5.0"},
}

SYSTEM_EVENT_CREATE: dict[str, Any] = {
    "resource": "service/ai",
    "action": "start",
    "metadata": {"version": "1.4.0"},
}

SECURITY_EVENT_CREATE: dict[str, Any] = {
    "user_id": 3,
    "resource": "project/7",
    "action": "access_denied",
    "metadata": {"role": "viewer"},
    "severity": "high",
}

DATA_EVENT_CREATE: dict[str, Any] = {
    "user_id": 3,
    "resource": "project/7/export",
    "action": "download",
    "metadata": {"rows": 120},
    "data_classification": "confidential",
}

EVENT: dict[str, Any] = {
    "event_type": "card.moved",
    "user_id": 3,
    "resource": "project/7/card/42",
    "action": "move",
    "metadata": {"from": "todo", "to": "done", "ip_address": "203.0.113.7"},
    "request_id": "req-5f2c",
    "session_id": None,
    "event_id": EVENT_ID,
    "timestamp": TIMESTAMP,
    "reported_by": PRINCIPAL,
    "producer": "projectflow",
    "sequence": 1841,
    "occurred_at": "2026-01-05T09:29:58Z",
}

USER_EVENT: dict[str, Any] = {
    "event_type": "user_action",
    **USER_EVENT_CREATE,
    "request_id": None,
    "session_id": None,
    "event_id": EVENT_ID,
    "timestamp": TIMESTAMP,
    "reported_by": PRINCIPAL,
}

SYSTEM_EVENT: dict[str, Any] = USER_EVENT | {
    "event_type": "system_event",
    "user_id": None,
    **SYSTEM_EVENT_CREATE,
}

SECURITY_EVENT: dict[str, Any] = USER_EVENT | {
    "event_type": "security_event",
    **SECURITY_EVENT_CREATE,
    "metadata": {"role": "viewer", "severity": "high"},
}

DATA_EVENT: dict[str, Any] = USER_EVENT | {
    "event_type": "data_event",
    **DATA_EVENT_CREATE,
    "metadata": {"rows": 120, "data_classification": "confidential"},
}

MASKED_EVENT: dict[str, Any] = USER_EVENT | {
    "metadata": {"note": "asked [email] for help"},
    "masked": [{"path": "metadata.note", "kinds": ["email"]}],
    "erased": ["metadata.user_agent"],
}

BATCH: dict[str, Any] = {"events": [EVENT_CREATE, EVENT_CREATE | {"event_id": "card-42-moved"}]}

BATCH_RESULT: dict[str, Any] = {
    "message": "1 of 2 events stored",
    "event_count": 1,
    "results": [
        {"index": 0, "status": 201, "event_id": EVENT_ID},
        {
            "index": 1,
            "status": 409,
            "event_id": "card-42-moved",
            "error": {
                "type": "about:blank",
                "title": "The event id was used for another event",
                "status": 409,
                "code": "event_id_conflict",
            },
        },
    ],
}

EVENT_PAGE: dict[str, Any] = {
    "events": [EVENT, MASKED_EVENT],
    "has_more": True,
    "next_cursor": "eyJ2IjoxfQ",
}

RECENT_EVENTS: dict[str, Any] = {
    "events": [EVENT],
    "count": 1,
    "note": "The newest events; GET /api/v1/events has all of them.",
}

STATS: dict[str, Any] = {
    "buffer_size": 12,
    "buffer_max_size": 100,
    "backends_count": 2,
    "storage_backend": "dynamodb+s3",
    "last_flush_time": TIMESTAMP,
    "running": True,
    "tree_size": 51_234,
    "oldest_pending_at": "2026-01-05T09:29:31.004000Z",
}

CHECKPOINT_TEXT = (
    f"{LOG_NAME}\n51234\nbjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=\n\n"
    f"\u2014 {LOG_NAME} ehsMPXNpZ25hdHVyZQ==\n"
)

CHECKPOINT: dict[str, Any] = {
    "size": 51_234,
    "root_hash": ROOT_HASH,
    "checkpoint": CHECKPOINT_TEXT,
    "sealed_at": TIMESTAMP,
    "public_key": PUBLIC_KEY,
}

PROOF: dict[str, Any] = {
    "event_id": EVENT_ID,
    "record": '{"action":"move","event_id":"01KASM0T3ZJ8W6Q1XN5V7D2B4C"}',
    "leaf_index": 51_233,
    "leaf_hash": LEAF_HASH,
    "tree_size": 51_234,
    "path": [ROOT_HASH],
    "checkpoint": CHECKPOINT_TEXT,
}

CONSISTENCY_PROOF: dict[str, Any] = {
    "first": 51_200,
    "second": 51_234,
    "path": [ROOT_HASH, LEAF_HASH],
    "first_checkpoint": CHECKPOINT_TEXT.replace("51234", "51200"),
    "second_checkpoint": CHECKPOINT_TEXT,
}

EXPORT_CREATE: dict[str, Any] = {
    "start_time": "2025-10-01T00:00:00Z",
    "end_time": "2026-01-01T00:00:00Z",
    "filter": {"user_id": 3},
}

EXPORT: dict[str, Any] = {
    "export_id": EXPORT_ID,
    "status": "queued",
    "start_time": "2025-10-01T00:00:00Z",
    "end_time": "2026-01-01T00:00:00Z",
    "filter": {"user_id": 3},
    "requested_by": PRINCIPAL,
    "created_at": TIMESTAMP,
    "updated_at": TIMESTAMP,
    "expires_at": "2026-01-12T09:30:00.218000Z",
    "records": 0,
    "proven": 0,
}

COMPLETED_EXPORT: dict[str, Any] = EXPORT | {
    "status": "completed",
    "records": 8_120,
    "proven": 8_118,
    "size_bytes": 3_981_233,
    "download_url": "https://exports.example.com/01KASM9C5B2H6K3T8Y4R1WQ7ZE.zip",
}

EXPORT_PAGE: dict[str, Any] = {
    "exports": [COMPLETED_EXPORT],
    "has_more": False,
    "next_cursor": None,
}

RECONCILIATION: dict[str, Any] = {
    "complete": False,
    "producers": [
        {
            "producer": "projectflow",
            "through": 1841,
            "through_at": TIMESTAMP,
            "complete": False,
            "gaps": [
                {
                    "first": 1700,
                    "last": 1702,
                    "after": "2026-01-05T08:00:00Z",
                    "before": "2026-01-05T08:00:07Z",
                }
            ],
        }
    ],
}

FLUSH_RESULT: dict[str, Any] = {
    "message": "Sealed 12 events",
    "sealed": 12,
    "checkpoint": CHECKPOINT,
}

SUBJECT_ERASED: dict[str, Any] = {
    "message": "The personal fields of this person are erased",
    "user_id": 3,
    "event_id": EVENT_ID,
}
