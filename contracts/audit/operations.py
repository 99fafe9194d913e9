"""The operations of audit v1: the source of its OpenAPI document and of its API's routes."""

from __future__ import annotations

from typing import Any

from contracts.audit import examples, v1
from contracts.base import MAX_ID
from contracts.health_operations import health_operations
from contracts.operation import Answer, Contract, Operation, Parameter

_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}
_SIZE: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": v1.MAX_SEQUENCE}


def _text(length: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": length}


def _limit(default: int) -> Parameter:
    return Parameter(
        name="limit",
        schema={"type": "integer", "minimum": 1, "maximum": v1.MAX_PAGE_LIMIT, "default": default},
        description="Most items of the page; it may hold fewer, or none, while `has_more` is true.",
    )


_CURSOR = Parameter(
    name="cursor",
    schema=_text(v1.MAX_CURSOR_LENGTH),
    description="`next_cursor` of the page before; opaque, and 400 if it is not one of those.",
)
_FILTER = (
    Parameter(
        name="event_type",
        schema=_text(v1.MAX_EVENT_TYPE_LENGTH),
        description="Only events of this type.",
    ),
    Parameter(
        name="user_id",
        schema={"type": "integer", "minimum": 1, "maximum": MAX_ID},
        description="Only this person's events.",
    ),
    Parameter(
        name="resource",
        schema=_text(v1.MAX_RESOURCE_LENGTH),
        description="Only events about this resource.",
    ),
    Parameter(
        name="resource_prefix",
        schema=_text(v1.MAX_RESOURCE_LENGTH),
        description="Only events about resources that begin so; not together with `resource`.",
    ),
    Parameter(
        name="action",
        schema=_text(v1.MAX_ACTION_LENGTH),
        description="Only events of this action.",
    ),
    Parameter(
        name="request_id",
        schema=_text(v1.MAX_CORRELATION_LENGTH),
        description="Only events of this request.",
    ),
    Parameter(
        name="session_id",
        schema=_text(v1.MAX_CORRELATION_LENGTH),
        description="Only events of this session.",
    ),
    Parameter(
        name="severity",
        schema={"type": "string", "enum": ["low", "medium", "high", "critical"]},
        description="Only events of this severity.",
    ),
)
_EVENT_ID = Parameter(
    name="event_id",
    schema=_text(v1.MAX_EVENT_ID_LENGTH),
    description="The event's id.",
    required=True,
)

# 400: malformed JSON, cursor or header. 403, 429 and 504 come from the gateway as well.
_ANY = (400, 401, 403, 429, 500, 503, 504)
_BODY = (413, 415, 422)
_KEYED = (409,)

_REPEATS = (
    "The same `event_id` and content get the stored event again, with 200; the same `event_id` "
    "with other content is a 409. Without an `event_id`, `Idempotency-Key` stands for one. The "
    "answer comes after the event is stored; it is found by every query from then on."
)
_PERSONAL = (
    " Personal data of the kinds that the masking policy names is replaced, and `masked` tells "
    "where. What is left of the properties of `metadata` that are marked x-personal is encrypted "
    "under the person's key."
)


def _errors(*groups: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({status for group in groups for status in group}))


def _ingest(
    operation_id: str,
    path: str,
    summary: str,
    body: type[v1.EventReport],
    body_example: dict[str, Any],
    example: dict[str, Any],
) -> Operation:
    return Operation(
        operation_id=operation_id,
        method="post",
        path=path,
        summary=summary,
        tag="ingest",
        description=_REPEATS + _PERSONAL,
        body=body,
        body_example=body_example,
        answer=Answer(
            model=v1.AuditEvent, status=201, description="The event, stored.", example=example
        ),
        also=(
            Answer(
                model=v1.AuditEvent, description="The event, as stored before.", example=example
            ),
        ),
        errors=_errors(_ANY, _BODY, _KEYED),
        idempotent_by_key=True,
    )


_HEALTH = health_operations("audit-sink-service")

_INGEST = (
    _ingest(
        "record_event",
        "/api/v1/events",
        "Record an event",
        v1.AuditEventCreate,
        examples.EVENT_CREATE,
        examples.EVENT,
    ),
    Operation(
        operation_id="record_batch",
        method="post",
        path="/api/v1/events/batch",
        summary="Record up to 100 events, each stored or refused by itself",
        tag="ingest",
        description=(
            f"At most {v1.MAX_BATCH_EVENTS} events and {v1.MAX_BODY_BYTES} bytes. The answer is a "
            "200 whenever the batch could be read; each result has the status that its event would "
            "have been answered with alone. " + _REPEATS + _PERSONAL
        ),
        body=v1.Batch,
        body_example=examples.BATCH,
        answer=Answer(
            model=v1.BatchResult, description="A result per event.", example=examples.BATCH_RESULT
        ),
        errors=_errors(_ANY, _BODY),
        idempotent_by_key=True,
    ),
    _ingest(
        "record_user_event",
        "/api/v1/events/user",
        "Record what a person did",
        v1.UserEventCreate,
        examples.USER_EVENT_CREATE,
        examples.USER_EVENT,
    ),
    _ingest(
        "record_system_event",
        "/api/v1/events/system",
        "Record what the system did",
        v1.SystemEventCreate,
        examples.SYSTEM_EVENT_CREATE,
        examples.SYSTEM_EVENT,
    ),
    _ingest(
        "record_security_event",
        "/api/v1/events/security",
        "Record what bears on security",
        v1.SecurityEventCreate,
        examples.SECURITY_EVENT_CREATE,
        examples.SECURITY_EVENT,
    ),
    _ingest(
        "record_data_event",
        "/api/v1/events/data",
        "Record an access to data",
        v1.DataEventCreate,
        examples.DATA_EVENT_CREATE,
        examples.DATA_EVENT,
    ),
)

_QUERY = (
    Operation(
        operation_id="find_events",
        method="get",
        path="/api/v1/events",
        summary="Find events, newest first",
        tag="query",
        description=(
            "All conditions narrow the result. Recent events are found at once after they were "
            "stored; older ones come from the archive, by the same call and the same cursor. A "
            "range that is too wide to be searched while the caller waits is answered with an "
            "export, which was begun."
        ),
        query=(
            Parameter(
                name="start_time", schema=_TIME, description="Only events accepted from then on."
            ),
            Parameter(
                name="end_time",
                schema=_TIME,
                description="Only events accepted before; now, by default.",
            ),
            *_FILTER,
            _limit(v1.DEFAULT_PAGE_LIMIT),
            _CURSOR,
        ),
        answer=Answer(model=v1.EventPage, description="One page.", example=examples.EVENT_PAGE),
        also=(
            Answer(
                model=v1.Export,
                status=202,
                description="Too wide: an export of it.",
                example=examples.EXPORT,
            ),
        ),
        errors=_errors(_ANY, (422,)),
    ),
    Operation(
        operation_id="recent_events",
        method="get",
        path="/api/v1/events/recent",
        summary="The newest events",
        tag="query",
        query=(_limit(v1.DEFAULT_RECENT_LIMIT),),
        answer=Answer(
            model=v1.RecentEvents, description="Newest first.", example=examples.RECENT_EVENTS
        ),
        errors=_errors(_ANY, (422,)),
    ),
    Operation(
        operation_id="get_event",
        method="get",
        path="/api/v1/events/{event_id}",
        summary="Read an event",
        tag="query",
        path_parameters=(_EVENT_ID,),
        answer=Answer(model=v1.AuditEvent, description="The event.", example=examples.EVENT),
        errors=_errors(_ANY, (404,)),
    ),
    Operation(
        operation_id="get_stats",
        method="get",
        path="/api/v1/stats",
        summary="How the service stands",
        tag="query",
        answer=Answer(model=v1.Stats, description="The figures.", example=examples.STATS),
        errors=_ANY,
    ),
    Operation(
        operation_id="reconcile",
        method="get",
        path="/api/v1/reconciliation",
        summary="Which reports were counted by their producer and never arrived",
        tag="query",
        query=(
            Parameter(
                name="from",
                schema=_TIME,
                description="Only gaps before reports accepted from then on.",
            ),
            Parameter(
                name="to", schema=_TIME, description="Only gaps before reports accepted before."
            ),
        ),
        answer=Answer(
            model=v1.Reconciliation,
            description="Each producer that counts.",
            example=examples.RECONCILIATION,
        ),
        errors=_errors(_ANY, (422,)),
    ),
)

_EVIDENCE = (
    Operation(
        operation_id="get_proof",
        method="get",
        path="/api/v1/events/{event_id}/proof",
        summary="Prove that an event is in the log",
        tag="evidence",
        description="409 until the event is sealed; `Retry-After` says when it will be.",
        path_parameters=(_EVENT_ID,),
        answer=Answer(model=v1.Proof, description="The proof.", example=examples.PROOF),
        errors=_errors(_ANY, (404, 409)),
    ),
    Operation(
        operation_id="get_latest_checkpoint",
        method="get",
        path="/api/v1/checkpoints/latest",
        summary="The newest signed checkpoint of the log",
        tag="evidence",
        answer=Answer(
            model=v1.Checkpoint, description="The checkpoint.", example=examples.CHECKPOINT
        ),
        errors=_errors(_ANY, (404,)),
    ),
    Operation(
        operation_id="get_consistency",
        method="get",
        path="/api/v1/checkpoints/consistency",
        summary="Prove that the log only grew between two checkpoints",
        tag="evidence",
        query=(
            Parameter(
                name="from", schema=_SIZE, description="The older checkpoint's size.", required=True
            ),
            Parameter(
                name="to", schema=_SIZE, description="The newer checkpoint's size.", required=True
            ),
        ),
        answer=Answer(
            model=v1.ConsistencyProof,
            description="The proof.",
            example=examples.CONSISTENCY_PROOF,
        ),
        errors=_errors(_ANY, (404, 422)),
    ),
)

_EXPORTS = (
    Operation(
        operation_id="create_export",
        method="post",
        path="/api/v1/exports",
        summary="Have a bundle made that can be verified offline",
        tag="exports",
        body=v1.ExportCreate,
        body_example=examples.EXPORT_CREATE,
        answer=Answer(
            model=v1.Export, status=202, description="It is begun.", example=examples.EXPORT
        ),
        errors=_errors(_ANY, _BODY, _KEYED),
        idempotent_by_key=True,
    ),
    Operation(
        operation_id="list_exports",
        method="get",
        path="/api/v1/exports",
        summary="List the exports, newest first",
        tag="exports",
        query=(_limit(v1.DEFAULT_PAGE_LIMIT), _CURSOR),
        answer=Answer(model=v1.ExportPage, description="One page.", example=examples.EXPORT_PAGE),
        errors=_errors(_ANY, (422,)),
    ),
    Operation(
        operation_id="get_export",
        method="get",
        path="/api/v1/exports/{export_id}",
        summary="How far an export is; where to download it",
        tag="exports",
        path_parameters=(
            Parameter(
                name="export_id",
                schema=_text(v1.MAX_EVENT_ID_LENGTH),
                description="The export's id.",
                required=True,
            ),
        ),
        answer=Answer(
            model=v1.Export, description="The export.", example=examples.COMPLETED_EXPORT
        ),
        errors=_errors(_ANY, (404,)),
    ),
)

_CONTROL = (
    Operation(
        operation_id="flush",
        method="post",
        path="/api/v1/flush",
        summary="Seal now what was accepted before",
        tag="control",
        description="Takes no body. Recorded as an event of its own.",
        answer=Answer(model=v1.FlushResult, description="Sealed.", example=examples.FLUSH_RESULT),
        errors=_errors(_ANY, (413, 415)),
    ),
    Operation(
        operation_id="erase_subject",
        method="delete",
        path="/api/v1/subjects/{user_id}",
        summary="Make a person's personal fields unreadable, everywhere and for good",
        tag="control",
        description=(
            "Deletes the key that they are encrypted under. Records, proofs and the pseudonym "
            "`user_id` stay. Recorded as an event of its own, before."
        ),
        path_parameters=(
            Parameter(
                name="user_id",
                schema={"type": "integer", "minimum": 1, "maximum": MAX_ID},
                description="Whose.",
                required=True,
            ),
        ),
        answer=Answer(
            model=v1.SubjectErased, description="Erased.", example=examples.SUBJECT_ERASED
        ),
        errors=_errors(_ANY, (404, 422)),
    ),
)

AUDIT_V1 = Contract(
    service="audit",
    version="v1",
    title="Audit sink",
    description=(
        "An append-only record of what happened, queryable at once, provable for ever. Internal: "
        "every call but GET /health is signed with SigV4 (service `execute-api`) by a role that "
        "the API's resource policy names; `user_id` is believed because the role is. A request's "
        f"body has at most {v1.MAX_BODY_BYTES} bytes, a stored record {v1.MAX_RECORD_BYTES} bytes. "
        f"Integers beyond {v1.MAX_SEQUENCE}, NaN, lone surrogates, repeated names and more than "
        f"{v1.MAX_METADATA_DEPTH} levels are refused with their path."
    ),
    local_url="http://127.0.0.1:8003",
    operations=(*_HEALTH, *_INGEST, *_QUERY, *_EVIDENCE, *_EXPORTS, *_CONTROL),
)
