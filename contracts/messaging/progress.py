"""Messaging v1: live progress. Tickets, what workers post, and what passes over the WebSocket."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from contracts.base import UtcDatetime, WireId, WireInt, WireModel, is_none, json_size, too_large
from contracts.problem import Problem

MAX_TOPICS = 20
"""Of a ticket, and so of a connection."""

MAX_DATA_BYTES = 16 * 1024
"""Of a message's data: with what is around it, it fits API Gateway's frame of 32 KB."""

MAX_BATCH = 25
MAX_EVENT_ID_LENGTH = 128
MAX_CLIENT_MESSAGE_BYTES = 1_024
"""Of what a client may send: it asks, it does not tell."""

TICKET_SECONDS = 60
MAX_SEQUENCE = 2**53 - 1

MAX_IDLE_SECONDS = 600
"""API Gateway closes a connection that was silent for so long: ping at least that often."""

MAX_CONNECTION_SECONDS = 2 * 3600
"""API Gateway closes every connection after so long: clients come again with a new ticket."""

TOPIC_PATTERN = r"^(job|project|user):[A-Za-z0-9._-]{1,64}$"

Topic = Annotated[
    str,
    Field(
        pattern=TOPIC_PATTERN,
        description="`job:<id>`, `project:<id>` or `user:<id>`.",
        examples=["job:01KASM0T3ZJ8W6Q1XN5V7D2B4C"],
    ),
]
Sequence = Annotated[WireInt, Field(ge=0, le=MAX_SEQUENCE)]


def _distinct(topics: list[str]) -> list[str]:
    return list(dict.fromkeys(topics))


def _small(data: dict[str, Any]) -> dict[str, Any]:
    if json_size(data) > MAX_DATA_BYTES:
        raise too_large(MAX_DATA_BYTES)
    return data


class TicketCreate(WireModel):
    """What a client is to be allowed to follow. Whoever asks has checked that it may."""

    topics: Annotated[
        list[Topic],
        Field(min_length=1, max_length=MAX_TOPICS, description="Each counts once."),
        AfterValidator(_distinct),
    ]
    user_id: Annotated[
        WireId | None, Field(description="Whose connection it becomes: a person has so many.")
    ] = None


class Ticket(WireModel):
    """Good for one connection, and for `TICKET_SECONDS`: a secret of its client's."""

    ticket: Annotated[str, Field(description="Goes into the address as `?ticket=`.")]
    expires_at: UtcDatetime
    url: Annotated[str, Field(description="The WebSocket's address, without the ticket.")]
    topics: list[str]


class ProgressCreate(WireModel):
    """One message to whoever follows the topic."""

    topic: Topic
    data: Annotated[
        dict[str, Any],
        Field(description=f"At most {MAX_DATA_BYTES} bytes as compact JSON."),
        AfterValidator(_small),
    ]
    event_id: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=MAX_EVENT_ID_LENGTH,
            pattern=r"^[A-Za-z0-9._:-]+$",
            description=(
                "Of the poster's making: posted again, the message keeps its sequence and is "
                "pushed once more. The same id with another message is a 409."
            ),
        ),
    ] = None
    terminal: Annotated[
        bool, Field(description="Whether the poster expects to say nothing more on this topic.")
    ] = False


class Progress(WireModel):
    """What became of a message. It is in the topic's log, so whoever it did not reach resumes."""

    topic: str
    sequence: Annotated[int, Field(description="Within the topic: from 1, without a gap.")]
    pushed: Annotated[int, Field(description="Connections that were sent it in this call.")]
    gone: Annotated[int, Field(description="Connections that turned out to be closed.")]
    late: Annotated[
        int, Field(description="Connections that it did not reach in the time allowed.")
    ] = 0
    handed_on: Annotated[
        int,
        Field(
            description=(
                "Calls of other functions that push it: of a topic with many connections, whose "
                "number is then not known here."
            )
        ),
    ] = 0


class ProgressBatch(WireModel):
    """Messages, those of one topic in their order."""

    messages: Annotated[list[ProgressCreate], Field(min_length=1, max_length=MAX_BATCH)]


class ProgressItem(WireModel):
    """What came of one message of a batch."""

    index: int
    status: Annotated[int, Field(description="As it would have been answered alone.")]
    progress: Annotated[Progress | None, Field(exclude_if=is_none)] = None
    error: Annotated[Problem | None, Field(exclude_if=is_none)] = None


class ProgressBatchResult(WireModel):
    """A result per message."""

    results: list[ProgressItem]


class ClientMessage(WireModel):
    """What a client says: `ping`; `resume` a topic behind a sequence, or, without `after`, from now
    on; `subscribe` to and `unsubscribe` from a topic of its ticket.
    """

    action: Literal["ping", "resume", "subscribe", "unsubscribe"]
    topic: Topic | None = None
    after: Annotated[
        Sequence | None, Field(description="The last sequence that the client has; 0 for none.")
    ] = None


class ProgressFrame(WireModel):
    """A message of a topic, live or resumed. Frames may come twice and out of order: clients sort
    them by `sequence` and drop those that they have.
    """

    type: Literal["progress"] = "progress"
    topic: str
    sequence: Sequence
    at: Annotated[UtcDatetime, Field(description="When it was posted.")]
    data: dict[str, Any]
    terminal: Annotated[bool, Field(description="Whether nothing more is expected.")] = False


class ResumedFrame(WireModel):
    """Everything up to `sequence` was sent. With `more`, there is more: resume behind it."""

    type: Literal["resumed"] = "resumed"
    topic: str
    sequence: Sequence
    more: bool = False


class GapFrame(WireModel):
    """The log has nothing of what lies between `after` and `sequence`, where it goes on: the client
    is at `sequence` from now on, even where that is before where it was.
    """

    type: Literal["gap"] = "gap"
    topic: str
    after: Sequence
    sequence: Sequence


class PongFrame(WireModel):
    """The answer to a ping."""

    type: Literal["pong"] = "pong"


class SubscribedFrame(WireModel):
    """The topic's messages come from now on, or no longer."""

    type: Literal["subscribed", "unsubscribed"]
    topic: str


class ErrorFrame(WireModel):
    """What the client said has no effect."""

    type: Literal["error"] = "error"
    code: Annotated[
        Literal[
            "malformed_message", "message_too_large", "topic_not_granted", "not_connected", "failed"
        ],
        Field(description="`failed` may pass: say it again later."),
    ]
    detail: str


Frame = ProgressFrame | ResumedFrame | GapFrame | PongFrame | SubscribedFrame | ErrorFrame
FRAMES = (
    ClientMessage,
    ProgressFrame,
    ResumedFrame,
    GapFrame,
    PongFrame,
    SubscribedFrame,
    ErrorFrame,
)
"""Everything that passes over the WebSocket, each a JSON object in one text message."""
