"""Bodies of AI v1 as they look on the wire."""

from __future__ import annotations

from typing import Any

SESSION_ID = "0199f3a2-7c1e-7d8b-9a51-3f0c2b6d4e11"
TURN_ID = "0199f3a2-7c1e-7d8b-9a51-3f0c2b6d4e12"
CREATED_AT = "2026-01-05T09:30:00Z"

PROVIDER: dict[str, Any] = {
    "id": 1,
    "name": "bedrock",
    "display_name": "Amazon Bedrock",
    "base_url": None,
    "config": {},
    "is_active": True,
    "is_default": True,
    "created_at": CREATED_AT,
    "updated_at": None,
}

MODEL: dict[str, Any] = {
    "id": 1,
    "provider_id": 1,
    "name": "amazon.nova-lite-v1:0",
    "display_name": "Amazon Nova Lite",
    "description": None,
    "supports_functions": True,
    "supports_vision": True,
    "max_tokens": 10_000,
    "context_window": 300_000,
    "input_cost": "0.00006",
    "output_cost": "0.00024",
    "is_active": True,
    "is_default": True,
    "created_at": CREATED_AT,
}

SESSION_CREATE: dict[str, Any] = {
    "project_id": 7,
    "card_id": 42,
    "provider": "bedrock",
    "model": "amazon.nova-lite-v1:0",
    "initial_message": "Split this card into tasks.",
    "system_prompt": "Answer briefly.",
}

SYSTEM_MESSAGE: dict[str, Any] = {
    "role": "system",
    "content": "Answer briefly.",
    "tool_calls": None,
    "tool_results": None,
    "images": None,
    "id": 1001,
    "session_id": 501,
    "tokens_used": None,
    "cost": None,
    "created_at": CREATED_AT,
}

USER_MESSAGE: dict[str, Any] = SYSTEM_MESSAGE | {
    "role": "user",
    "content": "Split this card into tasks.",
    "id": 1002,
}

ASSISTANT_MESSAGE: dict[str, Any] = SYSTEM_MESSAGE | {
    "role": "assistant",
    "content": "1. Schema. 2. Endpoint. 3. Tests.",
    "id": 1003,
    "tokens_used": 58,
    "cost": "0.00000744",
    "created_at": "2026-01-05T09:30:04.218000Z",
}

SESSION_SUMMARY: dict[str, Any] = {
    "project_id": 7,
    "card_id": 42,
    "provider": "bedrock",
    "model": "amazon.nova-lite-v1:0",
    "id": 501,
    "session_id": SESSION_ID,
    "user_id": 3,
    "status": "active",
    "context": {},
    "created_at": CREATED_AT,
    "updated_at": None,
    "completed_at": None,
}

SESSION: dict[str, Any] = SESSION_SUMMARY | {
    "messages": [SYSTEM_MESSAGE, USER_MESSAGE],
    "messages_truncated": False,
}

SESSION_PAGE: dict[str, Any] = {
    "sessions": [SESSION_SUMMARY],
    "has_more": True,
    "next_cursor": "eyJ2IjoxfQ",
}

SESSION_UPDATE: dict[str, Any] = {"status": "completed"}

SESSION_DELETED: dict[str, Any] = {"message": "Session deleted"}

MESSAGE_CREATE: dict[str, Any] = {
    "role": "user",
    "content": "And the documentation?",
    "tool_calls": None,
    "tool_results": None,
}

MESSAGE_PAGE: dict[str, Any] = {
    "messages": [SYSTEM_MESSAGE, USER_MESSAGE],
    "has_more": False,
    "next_cursor": None,
}

CHAT_REQUEST: dict[str, Any] = {
    "message": "Split this card into tasks.",
    "project_id": 7,
    "user_id": 3,
    "session_id": SESSION_ID,
    "card_id": None,
    "provider": None,
    "model": None,
    "stream": False,
}

CHAT_STREAM_REQUEST: dict[str, Any] = CHAT_REQUEST | {"stream": True}

CHAT_RESPONSE: dict[str, Any] = {
    "session_id": SESSION_ID,
    "message": ASSISTANT_MESSAGE,
    "status": "completed",
    "turn_id": TURN_ID,
}

CHUNK: dict[str, Any] = {
    "session_id": SESSION_ID,
    "chunk": "1. Schema.",
    "finished": False,
    "message_id": None,
}

LAST_CHUNK: dict[str, Any] = CHUNK | {"chunk": "", "finished": True, "message_id": 1003}

FAILED_CHUNK: dict[str, Any] = CHUNK | {
    "chunk": "",
    "finished": True,
    "error": {"code": "provider_unavailable", "title": "The model's provider did not answer"},
}

TURN: dict[str, Any] = {
    "turn_id": TURN_ID,
    "session_id": SESSION_ID,
    "project_id": 7,
    "user_id": 3,
    "provider": "bedrock",
    "model": "amazon.nova-lite-v1:0",
    "status": "completed",
    "cancelling": False,
    "attempt": 1,
    "message_id": 1003,
    "usage": {
        "input": 44,
        "output": 14,
        "cache_read": 0,
        "cache_write": 0,
        "cache_write_1h": 0,
        "reasoning": 0,
    },
    "usage_estimated": False,
    "delivered_tokens": None,
    "cost": "0.000006",
    "stop": "end",
    "error": None,
    "created_at": CREATED_AT,
    "updated_at": "2026-01-05T09:30:04.218000Z",
}

CANCELLING_TURN: dict[str, Any] = TURN | {
    "status": "running",
    "cancelling": True,
    "message_id": None,
    "usage": None,
    "cost": None,
    "stop": None,
}

END_EVENT: dict[str, Any] = {"sequence": 12, "type": "end", "turn": TURN}

TEXT_EVENT: dict[str, Any] = {"sequence": 1, "type": "text", "text": "1. Schema."}

RESTART_EVENT: dict[str, Any] = {
    "sequence": 2,
    "type": "restart",
    "provider": "anthropic",
    "model": "claude-haiku-4-5",
}

JOB_CREATE: dict[str, Any] = {
    "message": "Split this card into tasks.",
    "project_id": 7,
    "user_id": 3,
    "session_id": SESSION_ID,
    "card_id": None,
    "provider": None,
    "model": None,
    "priority": "normal",
}

JOB_QUEUED: dict[str, Any] = {"job_id": TURN_ID, "status": "queued", "session_id": SESSION_ID}

JOB_RESULT: dict[str, Any] = {
    "turn_id": TURN_ID,
    "message_id": 1003,
    "usage": TURN["usage"],
    "usage_estimated": False,
    "delivered_tokens": None,
    "cost": "0.000006",
    "stop": "end",
}

JOB: dict[str, Any] = {
    "job_id": TURN_ID,
    "session_id": SESSION_ID,
    "project_id": 7,
    "user_id": 3,
    "status": "completed",
    "priority": "normal",
    "progress": 1.0,
    "result": JOB_RESULT,
    "error": None,
    "created_at": CREATED_AT,
    "updated_at": "2026-01-05T09:30:04.218000Z",
}

AI_JOB_QUEUED: dict[str, Any] = {
    "event_id": f"{TURN_ID}-1-queued",
    "job_id": TURN_ID,
    "session_id": SESSION_ID,
    "request_id": "01KE4J5T8Q3V7W9X1Y2Z3A4B5C",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "project_id": 7,
    "user_id": 3,
    "priority": "normal",
    "created_at": CREATED_AT,
}

AI_JOB_UPDATED: dict[str, Any] = {
    "event_id": f"{TURN_ID}-1-completed",
    "job_id": TURN_ID,
    "session_id": SESSION_ID,
    "request_id": "01KE4J5T8Q3V7W9X1Y2Z3A4B5C",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "project_id": 7,
    "user_id": 3,
    "status": "completed",
    "progress": 1.0,
    "result": JOB_RESULT,
    "error": None,
    "updated_at": "2026-01-05T09:30:04.218000Z",
}

USAGE_SUM: dict[str, Any] = {
    "calls": 12,
    "input_tokens": 8_400,
    "output_tokens": 3_100,
    "cache_read_tokens": 21_000,
    "cache_write_tokens": 0,
    "cache_write_1h_tokens": 0,
    "reasoning_tokens": 900,
    "total_tokens": 33_400,
    "cost": "0.0131",
    "unpriced_calls": 0,
    "estimated_calls": 0,
}

USAGE_REPORT: dict[str, Any] = {
    "first_day": "2026-01-01",
    "last_day": "2026-01-31",
    "groups": [
        USAGE_SUM
        | {
            "day": "2026-01-05",
            "project_id": None,
            "user_id": None,
            "provider": "openai",
            "model": "gpt-5-mini",
        }
    ],
    "total": USAGE_SUM,
    "has_more": False,
    "next_cursor": None,
}

BUDGET_SET: dict[str, Any] = {"daily_limit": "2.50", "monthly_limit": "25"}

BUDGET: dict[str, Any] = {
    "scope": "project-7-user-3",
    "daily_limit": "2.5",
    "monthly_limit": "25",
    "periods": [
        {
            "period": "day",
            "name": "2026-01-05",
            "limit": "2.5",
            "spent": "0.0131",
            "reserved": "0.25",
            "left": "2.2369",
            "renews_at": "2026-01-06T00:00:00Z",
        },
        {
            "period": "month",
            "name": "2026-01",
            "limit": "25",
            "spent": "4.0131",
            "reserved": "0.25",
            "left": "20.7369",
            "renews_at": "2026-02-01T00:00:00Z",
        },
    ],
    "created_at": CREATED_AT,
    "updated_at": CREATED_AT,
}

BUDGET_DELETED: dict[str, Any] = {"message": "Budget deleted"}

BUDGET_PROBLEM: dict[str, Any] = {
    "type": "about:blank",
    "title": "The budget is exhausted",
    "status": 402,
    "detail": (
        "Of the 2.5 USD that project-7-user-3 may spend in a day 0.12 are left, and the call may"
        " cost 0.25. The budget renews at 2026-01-06T00:00:00.000000Z."
    ),
    "code": "budget_exhausted",
    "request_id": "3c0b7f6e-6f0f-4c7a-9a3e-0d7b1a1c5e11",
    "budget": {
        "scope": "project-7-user-3",
        "period": "day",
        "limit": "2.5",
        "left": "0.12",
        "needed": "0.25",
        "renews_at": "2026-01-06T00:00:00Z",
    },
}

ROUTING_SET: dict[str, Any] = {
    "default": [
        {"provider": "openai", "model": "gpt-5-mini", "weight": 3},
        {"provider": "anthropic", "model": "claude-haiku-5-5", "weight": 1},
    ],
    "fallbacks": [{"provider": "bedrock", "model": "amazon.nova-lite-v1:0"}],
    "summaries": {"model": None},
}

ROUTING: dict[str, Any] = {
    "scope": "project-7",
    **ROUTING_SET,
    "created_at": CREATED_AT,
    "updated_at": CREATED_AT,
}

ROUTING_DELETED: dict[str, Any] = {"message": "Routing policy deleted"}

EXPORT_END: dict[str, Any] = {
    "type": "end",
    "counts": {"sessions": 1, "messages": 3, "summaries": 0, "usage": 2},
}
