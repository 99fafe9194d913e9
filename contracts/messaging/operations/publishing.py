"""Publishing events, and reading them again."""

from __future__ import annotations

from contracts.messaging import examples_publishing as examples
from contracts.messaging import publishing as wire
from contracts.messaging.operations.common import ANY_CALL, WITH_BODY, errors
from contracts.operation import Answer, Operation, Parameter

_REPEATS = (
    "The answer comes after the event is stored: from then on it will be delivered, at least once. "
    "The same `id` and body get the first answer again; the same `id` with another body is a 409. "
    "Without an `id`, `Idempotency-Key` stands for one."
)

OPERATIONS = (
    Operation(
        operation_id="publish_event",
        method="post",
        path="/api/v1/events",
        summary="Publish an event",
        tag="publish",
        description=_REPEATS,
        body=wire.EventCreate,
        body_example=examples.EVENT_CREATE,
        answer=Answer(
            model=wire.EventAccepted,
            status=202,
            description="The event is stored.",
            example=examples.ACCEPTED,
        ),
        errors=errors(ANY_CALL, WITH_BODY, (409,)),
        idempotent_by_key=True,
    ),
    Operation(
        operation_id="publish_batch",
        method="post",
        path="/api/v1/events/batch",
        summary="Publish up to 100 events, each by itself",
        tag="publish",
        description=_REPEATS
        + " The call is answered with 202 whatever came of its events: each has its own status.",
        body=wire.EventBatch,
        body_example=examples.BATCH,
        answer=Answer(
            model=wire.EventBatchResult,
            status=202,
            description="What came of each event.",
            example=examples.BATCH_RESULT,
        ),
        errors=errors(ANY_CALL, WITH_BODY),
        idempotent_by_key=True,
    ),
    Operation(
        operation_id="find_events",
        method="get",
        path="/api/v1/events",
        summary="The whole chain of events of a correlation id, in the order of acceptance",
        tag="control",
        query=(
            Parameter(
                name="correlation_id",
                schema={"type": "string", "pattern": wire.ID_PATTERN},
                description="Of the chain.",
                required=True,
            ),
            Parameter(
                name="limit",
                schema={
                    "type": "integer",
                    "minimum": 1,
                    "maximum": wire.MAX_CHAIN_LIMIT,
                    "default": wire.DEFAULT_CHAIN_LIMIT,
                },
                description="Most events of the page.",
            ),
            Parameter(
                name="cursor",
                schema={"type": "string", "minLength": 1, "maxLength": wire.MAX_CURSOR_LENGTH},
                description="`next_cursor` of the page before; 400 if it is not one of those.",
            ),
        ),
        answer=Answer(model=wire.EventChain, description="One page.", example=examples.CHAIN),
        errors=errors(ANY_CALL, (422,)),
    ),
    Operation(
        operation_id="get_event",
        method="get",
        path="/api/v1/events/{event_id}",
        summary="An event and its life, from acceptance to the last attempt",
        tag="control",
        path_parameters=(
            Parameter(
                name="event_id",
                schema={"type": "string", "pattern": wire.ID_PATTERN},
                description="The event's id.",
                required=True,
            ),
        ),
        answer=Answer(model=wire.EventLife, description="The event.", example=examples.LIFE),
        errors=errors(ANY_CALL, (404, 422)),
    ),
    Operation(
        operation_id="list_event_types",
        method="get",
        path="/api/v1/event-types",
        summary="Every type of event that has a schema",
        tag="control",
        answer=Answer(
            model=wire.EventTypeList,
            description="By name.",
            example=examples.EVENT_TYPE_LIST,
        ),
        errors=ANY_CALL,
    ),
)
