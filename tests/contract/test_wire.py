"""The contracts are what `wire-v1` promised to the callers of the container services."""

from typing import Any

import pytest
from pydantic import BaseModel

from contracts.ai import events, examples, jobs, v1
from contracts.ai.operations import AI_V1
from contracts.audit import v1 as audit_v1
from contracts.audit.operations import AUDIT_V1
from contracts.health import Health, Readiness
from contracts.messaging import publishing
from contracts.operation import Contract

# `?` after a type marks an optional field, as in the promise.
PROMISED: dict[type[BaseModel], dict[str, str]] = {
    v1.Provider: {
        "id": "int",
        "name": "str",
        "display_name": "str",
        "base_url": "str?",
        "config": "dict",
        "is_active": "bool",
        "is_default": "bool",
        "created_at": "datetime",
        "updated_at": "datetime?",
    },
    v1.Model: {
        "id": "int",
        "provider_id": "int",
        "name": "str",
        "display_name": "str",
        "description": "str?",
        "supports_functions": "bool",
        "supports_vision": "bool",
        "max_tokens": "int?",
        "context_window": "int?",
        "input_cost": "str?",
        "output_cost": "str?",
        "is_active": "bool",
        "is_default": "bool",
        "created_at": "datetime",
    },
    v1.SessionCreate: {
        "project_id": "int",
        "card_id": "int?",
        "provider": "str",
        "model": "str",
        "initial_message": "str",
        "system_prompt": "str?",
    },
    v1.Session: {
        "project_id": "int",
        "card_id": "int?",
        "provider": "str",
        "model": "str",
        "id": "int",
        "session_id": "str",
        "user_id": "int",
        "status": "str",
        "context": "dict",
        "created_at": "datetime",
        "updated_at": "datetime?",
        "completed_at": "datetime?",
        "messages": "list",
    },
    v1.MessageCreate: {
        "role": "str",
        "content": "str",
        "tool_calls": "list?",
        "tool_results": "list?",
    },
    v1.Message: {
        "role": "str",
        "content": "str",
        "tool_calls": "list?",
        "tool_results": "list?",
        "id": "int",
        "session_id": "int",
        "tokens_used": "int?",
        "cost": "str?",
        "created_at": "datetime",
    },
    v1.ChatRequest: {
        "message": "str",
        "project_id": "int",
        "user_id": "int",
        "session_id": "str?",
        "card_id": "int?",
        "provider": "str?",
        "model": "str?",
        "stream": "bool",
    },
    v1.ChatResponse: {"session_id": "str", "message": "dict", "status": "str"},
    v1.StreamingChatChunk: {
        "session_id": "str",
        "chunk": "str",
        "finished": "bool",
        "message_id": "int?",
    },
    jobs.JobCreate: {
        "message": "str",
        "project_id": "int",
        "user_id": "int",
        "session_id": "str?",
        "card_id": "int?",
        "provider": "str?",
        "model": "str?",
        "priority": "str",
    },
    jobs.JobQueued: {"job_id": "str", "status": "str"},
    events.AIJobQueued: {
        "job_id": "str",
        "session_id": "str",
        "project_id": "int",
        "user_id": "int",
        "priority": "str",
        "created_at": "datetime",
    },
    events.AIJobUpdated: {
        "job_id": "str",
        "session_id": "str",
        "status": "str",
        "progress": "float?",
        "result": "dict?",
        "error": "str?",
        "updated_at": "datetime",
    },
    publishing.EventCreate: {
        "event_type": "str",
        "payload": "dict",
        "id": "str?",
        "correlation_id": "str?",
        "user_id": "int?",
        "request_id": "str?",
        "timestamp": "datetime?",
        "retry_count": "int",
    },
    publishing.EventBatch: {"events": "list"},
    publishing.EventAccepted: {"message_id": "str", "correlation_id": "str"},
    audit_v1.AuditEventCreate: {
        "event_type": "str",
        "user_id": "int?",
        "resource": "str",
        "action": "str",
        "metadata": "dict",
        "request_id": "str?",
        "session_id": "str?",
        "event_id": "str?",
        "producer": "str?",
        "sequence": "int?",
        "occurred_at": "datetime?",
    },
    audit_v1.UserEventCreate: {
        "user_id": "int",
        "resource": "str",
        "action": "str",
        "metadata": "dict",
        "request_id": "str?",
        "session_id": "str?",
    },
    audit_v1.SystemEventCreate: {"resource": "str", "action": "str", "metadata": "dict"},
    audit_v1.SecurityEventCreate: {
        "resource": "str",
        "action": "str",
        "metadata": "dict",
        "severity": "str",
    },
    audit_v1.DataEventCreate: {
        "resource": "str",
        "action": "str",
        "metadata": "dict",
        "data_classification": "str",
    },
    audit_v1.AuditEvent: {
        "event_type": "str",
        "user_id": "int?",
        "resource": "str",
        "action": "str",
        "metadata": "dict",
        "request_id": "str?",
        "session_id": "str?",
        "event_id": "str",
        "timestamp": "datetime",
    },
    audit_v1.Batch: {"events": "list"},
    audit_v1.BatchResult: {"message": "str", "event_count": "int"},
    audit_v1.EventPage: {"events": "list", "has_more": "bool", "next_cursor": "str?"},
    audit_v1.RecentEvents: {"events": "list", "count": "int", "note": "str"},
    audit_v1.FlushResult: {"message": "str"},
    audit_v1.Stats: {
        "buffer_size": "int",
        "buffer_max_size": "int",
        "backends_count": "int",
        "storage_backend": "str",
        "last_flush_time": "datetime?",
        "running": "bool",
    },
    Health: {"status": "str", "service": "str"},
    Readiness: {"status": "str", "service": "str"},
}

JSON_TYPES = {
    "int": "integer",
    "float": "number",
    "str": "string",
    "bool": "boolean",
    "dict": "object",
    "list": "array",
    "datetime": "string",
}

AI_CALLS = {
    ("get", "/health"): "Health",
    ("get", "/ready"): "Readiness",
    ("get", "/api/v1/providers"): "[Provider]",
    ("get", "/api/v1/models"): "[Model]",
    ("post", "/api/v1/sessions"): "SessionCreate -> Session",
    ("get", "/api/v1/sessions"): "SessionPage",
    ("get", "/api/v1/sessions/{session_id}"): "Session",
    ("patch", "/api/v1/sessions/{session_id}"): "SessionUpdate -> Session",
    ("delete", "/api/v1/sessions/{session_id}"): "SessionDeleted",
    ("get", "/api/v1/sessions/{session_id}/messages"): "MessagePage",
    ("post", "/api/v1/sessions/{session_id}/messages"): "MessageCreate -> Message",
    ("post", "/api/v1/chat"): "ChatRequest -> ChatResponse",
    ("post", "/api/v1/chat/stream"): "ChatRequest -> StreamingChatChunk",
    ("get", "/api/v1/turns/{turn_id}"): "Turn",
    ("get", "/api/v1/turns/{turn_id}/events"): "TurnEvent",
    ("post", "/api/v1/turns/{turn_id}/cancel"): "Turn",
    ("post", "/api/v1/jobs"): "JobCreate -> JobQueued",
    ("get", "/api/v1/jobs/{job_id}"): "Job",
    ("get", "/api/v1/users/{user_id}/export"): "ExportLine",
    ("get", "/api/v1/usage"): "UsageReport",
    ("get", "/api/v1/budgets/{scope}"): "Budget",
    ("put", "/api/v1/budgets/{scope}"): "BudgetSet -> Budget",
    ("delete", "/api/v1/budgets/{scope}"): "BudgetDeleted",
    ("get", "/api/v1/routing/{scope}"): "Routing",
    ("put", "/api/v1/routing/{scope}"): "RoutingSet -> Routing",
    ("delete", "/api/v1/routing/{scope}"): "RoutingDeleted",
}

AUDIT_CALLS = {
    ("get", "/health"): "Health",
    ("get", "/ready"): "Readiness",
    ("post", "/api/v1/events"): "AuditEventCreate -> AuditEvent",
    ("post", "/api/v1/events/batch"): "Batch -> BatchResult",
    ("post", "/api/v1/events/user"): "UserEventCreate -> AuditEvent",
    ("post", "/api/v1/events/system"): "SystemEventCreate -> AuditEvent",
    ("post", "/api/v1/events/security"): "SecurityEventCreate -> AuditEvent",
    ("post", "/api/v1/events/data"): "DataEventCreate -> AuditEvent",
    ("get", "/api/v1/events"): "EventPage",
    ("get", "/api/v1/events/recent"): "RecentEvents",
    ("get", "/api/v1/events/{event_id}"): "AuditEvent",
    ("get", "/api/v1/events/{event_id}/proof"): "Proof",
    ("get", "/api/v1/stats"): "Stats",
    ("get", "/api/v1/reconciliation"): "Reconciliation",
    ("get", "/api/v1/checkpoints/latest"): "Checkpoint",
    ("get", "/api/v1/checkpoints/consistency"): "ConsistencyProof",
    ("post", "/api/v1/exports"): "ExportCreate -> Export",
    ("get", "/api/v1/exports"): "ExportPage",
    ("get", "/api/v1/exports/{export_id}"): "Export",
    ("post", "/api/v1/flush"): "FlushResult",
    ("delete", "/api/v1/subjects/{user_id}"): "SubjectErased",
}


def json_types(model: type[BaseModel], name: str) -> set[str]:
    schema = model.model_json_schema()
    definition: dict[str, Any] = schema["properties"][name]
    types = set()
    for option in definition.get("anyOf", [definition]):
        resolved = option
        if "$ref" in option:
            resolved = schema["$defs"][option["$ref"].rpartition("/")[2]]
        types.add(resolved["type"])
    return types


@pytest.mark.parametrize(
    ("model", "name", "promised"),
    [
        (model, name, promised)
        for model, fields in PROMISED.items()
        for name, promised in fields.items()
    ],
)
def test_field_has_its_promised_type(model: type[BaseModel], name: str, promised: str) -> None:
    expected = {JSON_TYPES[promised.rstrip("?")]}
    if promised.endswith("?"):
        expected.add("null")
    assert json_types(model, name) == expected
    if promised.startswith("datetime"):
        assert "'format': 'date-time'" in str(model.model_json_schema()["properties"][name])


ASKED = [
    v1.SessionCreate,
    v1.MessageCreate,
    v1.ChatRequest,
    jobs.JobCreate,
    audit_v1.AuditEventCreate,
    audit_v1.UserEventCreate,
    audit_v1.SystemEventCreate,
    audit_v1.SecurityEventCreate,
    audit_v1.DataEventCreate,
    audit_v1.Batch,
    publishing.EventCreate,
    publishing.EventBatch,
]


@pytest.mark.parametrize("model", ASKED)
def test_a_request_asks_for_nothing_more(model: type[BaseModel]) -> None:
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    promised = {name for name, wire in PROMISED[model].items() if not wire.endswith("?")}
    assert required <= promised


@pytest.mark.parametrize(
    ("contract", "calls"), [(AI_V1, AI_CALLS), (AUDIT_V1, AUDIT_CALLS)], ids=["ai", "audit"]
)
def test_calls(contract: Contract, calls: dict[tuple[str, str], str]) -> None:
    table = {}
    for operation in contract.operations:
        name = operation.answer.model.__name__
        answer = f"[{name}]" if operation.answer.is_list else name
        body = f"{operation.body.__name__} -> " if operation.body else ""
        table[operation.method, operation.path] = body + answer
    assert table == calls


def test_query_parameters() -> None:
    query = {
        operation.operation_id: {p.name: p.required for p in operation.query}
        for operation in AI_V1.operations
        if operation.query
    }
    assert query == {
        "list_models": {"provider_id": False},
        "create_session": {"user_id": True},
        "list_sessions": {
            "project_id": False,
            "user_id": False,
            "limit": False,
            "cursor": False,
        },
        "list_messages": {"limit": False, "cursor": False},
        "chat_stream": {"protocol": False},
        "follow_turn": {"protocol": False, "last_event_id": False},
        "get_usage": {
            "project_id": False,
            "user_id": False,
            "from": False,
            "to": False,
            "group_by": False,
            "limit": False,
            "cursor": False,
        },
    }


@pytest.mark.parametrize("chunk", [examples.CHUNK, examples.LAST_CHUNK, examples.FAILED_CHUNK])
def test_chunks_round_trip(chunk: dict[str, Any]) -> None:
    assert v1.StreamingChatChunk.model_validate(chunk).model_dump(mode="json") == chunk


@pytest.mark.parametrize(
    ("model", "example"),
    [(v1.Session, examples.SESSION), (v1.ChatResponse, examples.CHAT_RESPONSE)],
)
def test_a_client_reads_answers_with_fields_it_does_not_know(
    model: type[BaseModel], example: dict[str, Any]
) -> None:
    assert model.model_validate(example | {"added_later": 1}) == model.model_validate(example)


def test_a_client_reads_statuses_it_does_not_know() -> None:
    session = v1.Session.model_validate(examples.SESSION | {"status": "paused"})
    assert session.status == "paused"
