"""Dead letters and their redrives."""

from __future__ import annotations

from typing import Any

from contracts.messaging import dead_letters as wire
from contracts.messaging import examples_consuming as examples
from contracts.messaging.deliveries import CONSUMER_PATTERN, ERROR_PATTERN
from contracts.messaging.operations.common import ANY_CALL, WITH_BODY, errors
from contracts.messaging.publishing import ID_PATTERN
from contracts.operation import Answer, Operation, Parameter

_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}

LIMIT = Parameter(
    name="limit",
    schema={
        "type": "integer",
        "minimum": 1,
        "maximum": wire.MAX_LIMIT,
        "default": wire.DEFAULT_LIMIT,
    },
    description="Most items of the page; it may hold fewer, or none, while `has_more` is true.",
)
CURSOR = Parameter(
    name="cursor",
    schema={"type": "string", "minLength": 1, "maxLength": wire.MAX_CURSOR_LENGTH},
    description="`next_cursor` of the page before; opaque, and 400 if it is not one of those.",
)
STREAM = Parameter(
    name="stream",
    schema={"type": "string", "minLength": 1, "maxLength": 64},
    description="The stream's name.",
    required=True,
)
_REDRIVE_ID = Parameter(
    name="redrive_id",
    schema={"type": "string", "pattern": ID_PATTERN},
    description="The redrive's id.",
    required=True,
)
_FILTER = (
    Parameter(
        name="type",
        schema={"type": "string", "pattern": ID_PATTERN},
        description="Only events of this type.",
    ),
    Parameter(
        name="tenant",
        schema={"type": "string", "pattern": ID_PATTERN},
        description="Only this tenant's events.",
    ),
    Parameter(
        name="consumer",
        schema={"type": "string", "pattern": CONSUMER_PATTERN},
        description="Only what this consumer gave up.",
    ),
    Parameter(
        name="error",
        schema={"type": "string", "pattern": ERROR_PATTERN},
        description="Only letters of this error code.",
    ),
    Parameter(name="older_than", schema=_TIME, description="Only what died before that time."),
    Parameter(name="newer_than", schema=_TIME, description="Only what died at that time or later."),
)
_AS_REDRIVE = Answer(model=wire.Redrive, description="The redrive.", example=examples.REDRIVE)

OPERATIONS = (
    Operation(
        operation_id="list_dead_letters",
        method="get",
        path="/api/v1/streams/{stream}/dead-letters",
        summary="Events of a stream that consumers gave up, those that died last first",
        tag="control",
        path_parameters=(STREAM,),
        query=(*_FILTER, LIMIT, CURSOR),
        answer=Answer(
            model=wire.DeadLetterPage,
            description="A page of dead letters, each with the attempts that led to it.",
            example=examples.DEAD_LETTERS,
        ),
        errors=errors(ANY_CALL, (404, 422)),
    ),
    Operation(
        operation_id="redrive",
        method="post",
        path="/api/v1/streams/{stream}/redrive",
        summary="Send dead letters of a stream to their consumers again",
        tag="control",
        description=(
            "With `dry_run` it answers what would be sent, and sends nothing. Else a redrive "
            "begins in the background: it takes the letters that had died by then and match the "
            "filter, each once, at most `rate` a second, and sends each to the one consumer "
            "that gave it up. A letter that dies again comes back with one redrive more."
        ),
        path_parameters=(STREAM,),
        body=wire.RedriveCreate,
        body_example=examples.REDRIVE_CREATE,
        answer=Answer(
            model=wire.DryRun,
            description="What would be sent, of a dry run.",
            example=examples.DRY_RUN,
        ),
        also=(
            Answer(
                model=wire.Redrive,
                status=202,
                description="The redrive, begun.",
                example=examples.REDRIVE,
            ),
        ),
        errors=errors(ANY_CALL, WITH_BODY, (404, 409)),
        idempotent_by_key=True,
    ),
    Operation(
        operation_id="list_redrives",
        method="get",
        path="/api/v1/streams/{stream}/redrives",
        summary="Redrives of a stream, newest first",
        tag="control",
        path_parameters=(STREAM,),
        query=(LIMIT, CURSOR),
        answer=Answer(
            model=wire.RedrivePage, description="A page of redrives.", example=examples.REDRIVES
        ),
        errors=errors(ANY_CALL, (404, 422)),
    ),
    Operation(
        operation_id="get_redrive",
        method="get",
        path="/api/v1/redrives/{redrive_id}",
        summary="How far a redrive is",
        tag="control",
        path_parameters=(_REDRIVE_ID,),
        answer=_AS_REDRIVE,
        errors=errors(ANY_CALL, (404, 422)),
    ),
    Operation(
        operation_id="cancel_redrive",
        method="post",
        path="/api/v1/redrives/{redrive_id}/cancel",
        summary="End a redrive; what was sent stays sent",
        tag="control",
        path_parameters=(_REDRIVE_ID,),
        answer=_AS_REDRIVE,
        errors=errors(ANY_CALL, (404, 409, 413, 415, 422)),
    ),
)
