"""Live progress: tickets for those who follow, and what workers post."""

from __future__ import annotations

from contracts.messaging import progress, progress_examples
from contracts.messaging.operations.common import ANY_CALL, WITH_BODY, errors
from contracts.operation import Answer, Operation

_LOGGED = (
    "The message gets the next sequence of its topic, is kept in the topic's log for a day, and is "
    "pushed to the topic's connections within the call. Connections that it does not reach in time "
    "see a hole in the sequences and resume. To put several changes into one message is up to the "
    "poster: four a second are enough for a person. Without `event_id`, `Idempotency-Key` stands "
    "for one."
)

OPERATIONS = (
    Operation(
        operation_id="create_ticket",
        method="post",
        path="/api/v1/tickets",
        summary="Let a client follow topics over the WebSocket",
        tag="control",
        description=(
            f"The ticket is good for one connection within {progress.TICKET_SECONDS} s and is told "
            "once, here: the service keeps its hash alone. The caller has checked that the client "
            "may see the topics. The WebSocket is at `url?ticket=`: docs/message-service.md says "
            "what passes over it."
        ),
        body=progress.TicketCreate,
        body_example=progress_examples.TICKET_CREATE,
        answer=Answer(
            model=progress.Ticket,
            status=201,
            description="The ticket.",
            example=progress_examples.TICKET,
        ),
        errors=errors(ANY_CALL, WITH_BODY),
    ),
    Operation(
        operation_id="post_progress",
        method="post",
        path="/api/v1/progress",
        summary="Tell whoever follows a topic",
        tag="publish",
        description=_LOGGED,
        body=progress.ProgressCreate,
        body_example=progress_examples.PROGRESS_CREATE,
        answer=Answer(
            model=progress.Progress,
            description="The message is in the log, and pushed as far as it says.",
            example=progress_examples.PROGRESS,
        ),
        errors=errors(ANY_CALL, WITH_BODY, (409,)),
        idempotent_by_key=True,
    ),
    Operation(
        operation_id="post_progress_batch",
        method="post",
        path="/api/v1/progress/batch",
        summary=f"The same for up to {progress.MAX_BATCH} messages, each by itself",
        tag="publish",
        description=_LOGGED + " Messages of one topic get their sequences in the batch's order.",
        body=progress.ProgressBatch,
        body_example=progress_examples.PROGRESS_BATCH,
        answer=Answer(
            model=progress.ProgressBatchResult,
            description="A result per message.",
            example=progress_examples.PROGRESS_BATCH_RESULT,
        ),
        errors=errors(ANY_CALL, WITH_BODY),
        idempotent_by_key=True,
    ),
)
