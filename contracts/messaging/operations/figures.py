"""How the streams stand."""

from __future__ import annotations

from contracts.messaging import examples_consuming as examples
from contracts.messaging import figures as wire
from contracts.messaging.operations.common import ANY_CALL, errors
from contracts.messaging.operations.dead_letters import STREAM
from contracts.operation import Answer, Operation

OPERATIONS = (
    Operation(
        operation_id="get_stats",
        method="get",
        path="/api/v1/stats",
        summary="How the service stands",
        tag="control",
        answer=Answer(model=wire.Stats, description="The figures.", example=examples.STATS),
        errors=errors(ANY_CALL),
    ),
    Operation(
        operation_id="list_streams",
        method="get",
        path="/api/v1/streams",
        summary="All streams and how they stand",
        tag="control",
        answer=Answer(
            model=wire.StreamList, description="The streams.", example=examples.STREAM_LIST
        ),
        errors=errors(ANY_CALL),
    ),
    Operation(
        operation_id="get_stream",
        method="get",
        path="/api/v1/streams/{stream}",
        summary="A stream and how it stands",
        tag="control",
        path_parameters=(STREAM,),
        answer=Answer(model=wire.StreamFigures, description="The stream.", example=examples.STREAM),
        errors=errors(ANY_CALL, (404, 422)),
    ),
)
