"""How the streams stand, on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from contracts.base import UtcDatetime, WireInt, WireModel


class Consumer(WireModel):
    """Somebody who reported attempts with events of a stream."""

    name: str
    last_seen_at: Annotated[
        UtcDatetime, Field(description="Of a report; renewed once in an hour at most.")
    ]


class StreamFigures(WireModel):
    """One stream: its queue by SQS, its age by CloudWatch, its dead letters by their table."""

    name: str
    event_types: Annotated[
        list[str], Field(description="Of `default-events` none: it has all that nobody else has.")
    ]
    depth: Annotated[WireInt, Field(description="Messages that wait.")]
    in_flight: Annotated[WireInt, Field(description="Messages that are worked on.")]
    delayed: Annotated[WireInt, Field(description="Messages that are not to be seen yet.")]
    oldest_age_seconds: Annotated[
        WireInt | None,
        Field(description="Of the oldest message; null while CloudWatch has no datum."),
    ]
    dead_letters: WireInt
    dead_letter_queue: str
    undelivered_dead_letters: Annotated[
        WireInt, Field(description="Messages of that queue whose death was not reported yet.")
    ]
    consumers: list[Consumer]


class StreamList(WireModel):
    """All streams."""

    streams: list[StreamFigures]


class Stats(WireModel):
    """How the service stands."""

    running: Annotated[bool, Field(description="All streams' queues answered just now.")]
    streams_count: WireInt
    consumer_groups_count: Annotated[
        WireInt, Field(description="The streams themselves, and consumers that reported.")
    ]
    event_types: list[str]
    stream_mapping: Annotated[dict[str, str], Field(description="Streams by event type.")]
    depth: WireInt
    in_flight: WireInt
    dead_letters: WireInt
    oldest_age_seconds: WireInt | None
    streams: list[StreamFigures]
