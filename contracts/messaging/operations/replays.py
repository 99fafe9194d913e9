"""Replays of the archive."""

from __future__ import annotations

from contracts.messaging import examples_consuming as examples
from contracts.messaging import replays as wire
from contracts.messaging.operations.common import ANY_CALL, WITH_BODY, errors
from contracts.messaging.operations.dead_letters import CURSOR, LIMIT
from contracts.messaging.publishing import ID_PATTERN
from contracts.operation import Answer, Operation, Parameter

_REPLAY_ID = Parameter(
    name="replay_id",
    schema={"type": "string", "pattern": ID_PATTERN},
    description="The replay's id.",
    required=True,
)
_AS_REPLAY = Answer(model=wire.Replay, description="The replay.", example=examples.REPLAY)

OPERATIONS = (
    Operation(
        operation_id="create_replay",
        method="post",
        path="/api/v1/replays",
        summary="Bring events out of the archive again, for one stream",
        tag="control",
        description=(
            "Subscriptions of the stream get each event once more for each replay. The archive "
            "keeps events as long as `GET /events/{id}` finds them, may take ten minutes to have "
            "one, and gives no order."
        ),
        body=wire.ReplayCreate,
        body_example=examples.REPLAY_CREATE,
        answer=Answer(
            model=wire.Replay,
            status=202,
            description="The replay, begun.",
            example=examples.REPLAY,
        ),
        errors=errors(ANY_CALL, WITH_BODY, (404, 409)),
        idempotent_by_key=True,
    ),
    Operation(
        operation_id="list_replays",
        method="get",
        path="/api/v1/replays",
        summary="Replays, newest first",
        tag="control",
        query=(LIMIT, CURSOR),
        answer=Answer(
            model=wire.ReplayPage, description="A page of replays.", example=examples.REPLAYS
        ),
        errors=errors(ANY_CALL, (422,)),
    ),
    Operation(
        operation_id="get_replay",
        method="get",
        path="/api/v1/replays/{replay_id}",
        summary="How far a replay is",
        tag="control",
        path_parameters=(_REPLAY_ID,),
        answer=_AS_REPLAY,
        errors=errors(ANY_CALL, (404, 422)),
    ),
    Operation(
        operation_id="cancel_replay",
        method="post",
        path="/api/v1/replays/{replay_id}/cancel",
        summary="End a replay; what came, came",
        tag="control",
        path_parameters=(_REPLAY_ID,),
        answer=_AS_REPLAY,
        errors=errors(ANY_CALL, (404, 409, 413, 415, 422)),
    ),
)
