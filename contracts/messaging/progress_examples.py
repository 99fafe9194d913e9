"""Bodies of live progress as they look on the wire."""

from __future__ import annotations

from typing import Any

_JOB = "job:01KASM0T3ZJ8W6Q1XN5V7D2B4C"
_PROJECT = "project:7"

TICKET_CREATE: dict[str, Any] = {"topics": [_JOB, _PROJECT], "user_id": 3}

TICKET: dict[str, Any] = {
    "ticket": "q0yV8yO0rQmJxQh1o0n5q8m5WJv3nq7V5r0o3yC0b1E",
    "expires_at": "2026-01-05T09:31:00.218000Z",
    "url": "wss://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com/live",
    "topics": [_JOB, _PROJECT],
}

PROGRESS_CREATE: dict[str, Any] = {
    "topic": _JOB,
    "data": {"status": "running", "progress": 0.4},
    "event_id": "01KASM0T3ZJ8W6Q1XN5V7D2B4C-1-8",
    "terminal": False,
}

PROGRESS: dict[str, Any] = {
    "topic": _JOB,
    "sequence": 8,
    "pushed": 2,
    "gone": 1,
    "late": 0,
    "handed_on": 0,
}

PROGRESS_BATCH: dict[str, Any] = {
    "messages": [
        PROGRESS_CREATE,
        {"topic": _PROJECT, "data": {"job_id": "01KASM0T3ZJ8W6Q1XN5V7D2B4C", "status": "running"}},
    ]
}

PROGRESS_BATCH_RESULT: dict[str, Any] = {
    "results": [
        {"index": 0, "status": 200, "progress": PROGRESS},
        {
            "index": 1,
            "status": 503,
            "error": {
                "type": "about:blank",
                "title": "The data store is not available",
                "status": 503,
                "code": "store_unavailable",
            },
        },
    ]
}
