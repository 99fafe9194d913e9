"""Events as items, and the log of each ordering key.

| pk            | sk         | attributes                              |
|---------------|------------|-----------------------------------------|
| EVENT#<id>    | EVENT      | the event                               |
| KEYLOG#<key>  | HEAD       | last: the sequence that was drawn last  |
| KEYLOG#<key>  | <sequence> | event_id, event_type, accepted_at       |

gsi1 has an event under CORRELATION#<id> / <accepted_at>#<id>; gsi2, until the bus has it, under
UNPUBLISHED#<shard> / <accepted_at>#<id>.
"""

from __future__ import annotations

import zlib
from datetime import timedelta
from typing import cast

from functions.messaging.adapters.dynamodb_life import event_pk
from functions.messaging.domain.events import Event
from servicekit.clock import from_text, to_text
from servicekit.dynamodb import Item

EVENT_SK = "EVENT"
HEAD_SK = "HEAD"

UNPUBLISHED_SHARDS = 8
"""How many partitions of the index share what is not published yet: each event passes through."""

_SEQUENCE_DIGITS = 16
# A head outlives what it counted, which TTL removes days late: its numbers are not drawn twice.
_HEAD_OUTLIVES = timedelta(days=7)
_OPTIONAL = (
    "causation_id",
    "traceparent",
    "request_id",
    "user_id",
    "ordering_key",
    "ordering_sequence",
)


def event_key(event_id: str) -> dict[str, str]:
    """Where an event is."""
    return {"pk": event_pk(event_id), "sk": EVENT_SK}


def event_item(event: Event, kept: timedelta) -> Item:
    """An event that the bus does not have yet. What it does not have is absent."""
    position = f"{to_text(event.accepted_at)}#{event.event_id}"
    optional = {name: getattr(event, name) for name in _OPTIONAL}
    return {
        **event_key(event.event_id),
        "gsi1pk": correlation_pk(event.correlation_id),
        "gsi1sk": position,
        "gsi2pk": unpublished_pk(zlib.crc32(event.event_id.encode()) % UNPUBLISHED_SHARDS),
        "gsi2sk": position,
        "event_id": event.event_id,
        "event_type": event.event_type,
        "payload": event.payload,
        "source": event.source,
        "tenant": event.tenant,
        "correlation_id": event.correlation_id,
        "occurred_at": to_text(event.occurred_at),
        "accepted_at": to_text(event.accepted_at),
        "fingerprint": event.fingerprint,
        "retry_count": event.retry_count,
        "expires_at": int((event.accepted_at + kept).timestamp()),
        **{name: value for name, value in optional.items() if value is not None},
    }


def event_from(item: Item) -> Event:
    """The inverse of `event_item`."""
    published_at = item.get("published_at")
    return Event(
        event_id=str(item["event_id"]),
        event_type=str(item["event_type"]),
        payload=str(item["payload"]),
        source=str(item["source"]),
        tenant=str(item["tenant"]),
        correlation_id=str(item["correlation_id"]),
        occurred_at=from_text(str(item["occurred_at"])),
        accepted_at=from_text(str(item["accepted_at"])),
        fingerprint=str(item["fingerprint"]),
        causation_id=cast("str | None", item.get("causation_id")),
        traceparent=cast("str | None", item.get("traceparent")),
        request_id=cast("str | None", item.get("request_id")),
        user_id=cast("int | None", item.get("user_id")),
        ordering_key=cast("str | None", item.get("ordering_key")),
        ordering_sequence=cast("int | None", item.get("ordering_sequence")),
        retry_count=cast("int", item["retry_count"]),
        published_at=from_text(str(published_at)) if published_at else None,
    )


def correlation_pk(correlation_id: str) -> str:
    """The chain's partition of the first index."""
    return f"CORRELATION#{correlation_id}"


def unpublished_pk(shard: int) -> str:
    """A partition of the second index."""
    return f"UNPUBLISHED#{shard}"


def keylog_pk(ordering_key: str) -> str:
    """The log of an ordering key."""
    return f"KEYLOG#{ordering_key}"


def sequence_sk(sequence: int) -> str:
    """Of an entry of the log: texts sort as the numbers do."""
    return f"{sequence:0{_SEQUENCE_DIGITS}d}"


def entry_item(event: Event, sequence: int, kept: timedelta) -> Item:
    """An event's entry in the log of its key."""
    return {
        "pk": keylog_pk(event.ordering_key or ""),
        "sk": sequence_sk(sequence),
        "event_id": event.event_id,
        "event_type": event.event_type,
        "accepted_at": to_text(event.accepted_at),
        "expires_at": int((event.accepted_at + kept).timestamp()),
    }


def head_expiry(event: Event, kept: timedelta) -> int:
    """When the head of the event's key goes, if no other event of the key comes."""
    return int((event.accepted_at + kept + _HEAD_OUTLIVES).timestamp())
