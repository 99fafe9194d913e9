"""Examples of what consumers report, and of dead letters, redrives, replays and figures."""

from __future__ import annotations

from typing import Any

EVENT_ID = "01JD9YQ6Z5T8H3M4N7P2R1S0VW"
REDRIVE_ID = "01JD9Z0S6M5V8Q2C4X7B1N3KDT"
REPLAY_ID = "replay-01JD9Z9C2F4H6J8M0P1R3T5W7Y"

DELIVERY = {
    "event_id": EVENT_ID,
    "consumer": "projectflow-search",
    "attempt": 3,
    "outcome": "failed",
    "error": "search_unavailable",
    "duration_ms": 812,
    "started_at": "2026-11-22T12:00:41Z",
    "event_type": "card.moved",
    "tenant": "project:42",
    "delivery_id": "0e5f2f4c-9a53-4f0a-9c0b-2f6f0c8e1a77",
}
DELIVERIES = {"deliveries": [DELIVERY, {**DELIVERY, "outcome": "dead", "duration_ms": 0}]}
DELIVERIES_RESULT = {
    "recorded": 2,
    "results": [
        {"index": 0, "event_id": EVENT_ID, "status": 200},
        {"index": 1, "event_id": EVENT_ID, "status": 200},
    ],
}
DEAD_LETTER: dict[str, Any] = {
    "event_id": EVENT_ID,
    "event_type": "card.moved",
    "tenant": "project:42",
    "stream": "kanban-events",
    "consumer": "projectflow-search",
    "error": "search_unavailable",
    "attempts": 3,
    "redrives": 0,
    "died_at": "2026-11-22T12:01:02Z",
    "first_died_at": "2026-11-22T12:01:02Z",
    "history": [
        {
            "attempt": 3,
            "outcome": "failed",
            "error": "search_unavailable",
            "started_at": "2026-11-22T12:00:41Z",
            "duration_ms": 812,
        }
    ],
    "event_url": f"/api/v1/events/{EVENT_ID}",
}
DEAD_LETTERS = {
    "stream": "kanban-events",
    "dead_letter_queue": "kanban-events-dlq",
    "dead_letters": [DEAD_LETTER],
    "has_more": False,
    "next_cursor": None,
}
REDRIVE_CREATE = {
    "filter": {"consumer": "projectflow-search", "error": "search_unavailable"},
    "dry_run": False,
    "rate": 50,
}
DRY_RUN = {
    "stream": "kanban-events",
    "dry_run": True,
    "matched": 1,
    "counts": [
        {
            "event_type": "card.moved",
            "consumer": "projectflow-search",
            "error": "search_unavailable",
            "count": 1,
        }
    ],
    "samples": [DEAD_LETTER],
}
REDRIVE = {
    "id": REDRIVE_ID,
    "stream": "kanban-events",
    "state": "queued",
    "filter": {"consumer": "projectflow-search", "error": "search_unavailable"},
    "rate": 50,
    "counts": {"sent": 0, "failed": 0},
    "requested_by": "santaclaude-dev-projectflow-api",
    "created_at": "2026-11-22T13:00:00Z",
    "updated_at": "2026-11-22T13:00:00Z",
}
REDRIVES = {"redrives": [REDRIVE], "has_more": False, "next_cursor": None}
REPLAY_CREATE = {
    "from": "2026-11-21T00:00:00Z",
    "to": "2026-11-22T00:00:00Z",
    "stream": "kanban-events",
    "types": ["card.moved"],
}
REPLAY = {
    **REPLAY_CREATE,
    "id": REPLAY_ID,
    "state": "starting",
    "replayed_until": None,
    "requested_by": "santaclaude-dev-projectflow-api",
    "created_at": "2026-11-22T13:05:00Z",
}
REPLAYS = {"replays": [REPLAY], "has_more": False, "next_cursor": None}
STREAM: dict[str, Any] = {
    "name": "kanban-events",
    "event_types": ["card.created", "card.moved"],
    "depth": 3,
    "in_flight": 2,
    "delayed": 0,
    "oldest_age_seconds": 4,
    "dead_letters": 1,
    "dead_letter_queue": "kanban-events-dlq",
    "undelivered_dead_letters": 0,
    "consumers": [{"name": "projectflow-search", "last_seen_at": "2026-11-22T12:00:41Z"}],
}
STREAM_LIST = {"streams": [STREAM]}
STATS = {
    "running": True,
    "streams_count": 1,
    "consumer_groups_count": 2,
    "event_types": ["card.created", "card.moved"],
    "stream_mapping": {"card.created": "kanban-events", "card.moved": "kanban-events"},
    "depth": 3,
    "in_flight": 2,
    "dead_letters": 1,
    "oldest_age_seconds": 4,
    "streams": [STREAM],
}
