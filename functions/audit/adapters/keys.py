"""The keys of the audit sink's tables: nothing else builds them.

Record table (append-only). Some indexes have few values and many records: their partitions are
split by day and by shard, since DynamoDB allows one 1,000 writes a second. So are markers, each of
which is three writes: a put within a transaction counts twice, its removal once.

| item   | pk         | sk    |
| ------ | ---------- | ----- |
| record | EVENT#<id> | EVENT |

| index | finds by   | pk                               | sk                   |
| ----- | ---------- | -------------------------------- | -------------------- |
| gsi1  | time       | TIME#<day>#<shard>               | <accepted>#<id>      |
| gsi2  | event type | TYPE#<type>#<day>#<shard>        | <accepted>#<id>      |
| gsi3  | action     | ACTION#<action>#<day>#<shard>    | <accepted>#<id>      |
| gsi4  | severity   | SEVERITY#<level>#<day>#<shard>   | <accepted>#<id>      |
| gsi5  | user       | USER#<id>                        | <accepted>#<id>      |
| gsi6  | resource   | RESOURCE#<resource>              | <accepted>#<id>      |
| gsi7  | prefix     | ROOT#<first part>#<day>#<shard>  | <accepted>#<id>      |
| gsi8  | request    | REQUEST#<id>                     | <accepted>#<id>      |
| gsi9  | session    | SESSION#<id>                     | <accepted>#<id>      |
| gsi10 | producer   | PRODUCER#<name>                  | <sequence>           |

Ledger table.

| item     | pk              | sk              | gsi1pk  | gsi1sk         |
| -------- | --------------- | --------------- | ------- | -------------- |
| marker   | PENDING#<shard> | <accepted>#<id> |         |                |
| head     | HEAD            | HEAD            |         |                |
| leaf     | LEAF#<event id> | <leaf hash>     |         |                |
| export   | EXPORT#<id>     | EXPORT          | EXPORTS | <created>#<id> |
| producer | PRODUCERS       | <name>          |         |                |
| searched | SEARCHED        | SEARCHED        |         |                |

`PROBE` in either is never written: /ready reads it.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta

from functions.audit.domain.models import Entry, Position
from servicekit.clock import from_text, to_text
from servicekit.dynamodb import Item, Key

PROBE: Key = {"pk": "PROBE", "sk": "PROBE"}
HEAD: Key = {"pk": "HEAD", "sk": "HEAD"}
SEARCHED: Key = {"pk": "SEARCHED", "sk": "SEARCHED"}
PRODUCERS = "PRODUCERS"
EXPORTS = "EXPORTS"

SHARDS = 4
PENDING_SHARDS = tuple(f"PENDING#{shard:02}" for shard in range(16))

TIME, TYPE, ACTION, SEVERITY = "TIME", "TYPE", "ACTION", "SEVERITY"
USER, RESOURCE, ROOT, REQUEST, SESSION = "USER", "RESOURCE", "ROOT", "REQUEST", "SESSION"
PRODUCER = "PRODUCER"
INDEXES = {
    kind: f"gsi{number}"
    for number, kind in enumerate(
        (TIME, TYPE, ACTION, SEVERITY, USER, RESOURCE, ROOT, REQUEST, SESSION, PRODUCER), 1
    )
}
BY_DAY = frozenset({TIME, TYPE, ACTION, SEVERITY, ROOT})

_SEQUENCE_DIGITS = 16
# A partition key has at most 2,048 bytes: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
_MAX_VALUE_BYTES = 1_000
_FIRST_PART = re.compile(r"[/:]")


def record_key(event_id: str) -> Key:
    """A record's own item."""
    return {"pk": f"EVENT#{event_id}", "sk": "EVENT"}


def event_of_record(pk: str) -> str:
    """The event id in a record's partition key."""
    return pk.removeprefix("EVENT#")


def shard_of(event_id: str, shards: int) -> int:
    """The same for one id in every process."""
    return zlib.crc32(event_id.encode()) % shards


def place(position: Position) -> str:
    """A sort key; keys sort as positions do."""
    return f"{to_text(position.accepted_at)}#{position.event_id}"


def position_of(sk: str) -> Position:
    """The inverse of `place`."""
    accepted, _, event_id = sk.partition("#")
    return Position(from_text(accepted), event_id)


def upper_bound(end: datetime, before: Position | None) -> str:
    """The lowest sort key that is not wanted of places before `end` and below `before`."""
    return min(place(before), to_text(end)) if before else to_text(end)


def just_below(upper: str) -> str:
    """A key below `upper` and above every possible key below it: BETWEEN includes its ends."""
    return f"{upper[:-1]}{chr(ord(upper[-1]) - 1)}\U0010ffff"


def root_of(resource: str) -> str:
    """The first part of a resource's name, up to a slash or colon."""
    return _FIRST_PART.split(resource, maxsplit=1)[0]


def has_whole_root(prefix: str) -> bool:
    """Whether every resource with this prefix has the same first part."""
    return _FIRST_PART.search(prefix) is not None


def partition(kind: str, value: str) -> str:
    """An index partition that is not split."""
    return f"{kind}#{_bounded(value)}"


def day_partitions(kind: str, value: str, day: datetime) -> list[str]:
    """The partitions of one UTC day."""
    stem = _day_stem(kind, value, day)
    return [f"{stem}#{shard}" for shard in range(SHARDS)]


def days_back(last: datetime, first: datetime) -> Iterator[datetime]:
    """Midnights (UTC) of the days from `last` back to `first`."""
    day = last.replace(hour=0, minute=0, second=0, microsecond=0)
    while day + timedelta(days=1) > first:
        yield day
        day -= timedelta(days=1)


def index_attributes(entry: Entry) -> Item:
    """Every index key of a record."""
    terms = entry.terms
    shard = shard_of(entry.event_id, SHARDS)
    partitions: dict[str, str] = {
        kind: f"{_day_stem(kind, value, entry.accepted_at)}#{shard}"
        for kind, value in (
            (TIME, ""),
            (TYPE, terms.event_type),
            (ACTION, terms.action),
            (SEVERITY, terms.severity),
            (ROOT, root_of(terms.resource)),
        )
        if value is not None
    }
    partitions |= {
        kind: partition(kind, str(value))
        for kind, value in (
            (USER, terms.user_id),
            (RESOURCE, terms.resource),
            (REQUEST, terms.request_id),
            (SESSION, terms.session_id),
        )
        if value is not None
    }
    sk = place(Position(entry.accepted_at, entry.event_id))
    attributes: Item = {}
    for kind, pk in partitions.items():
        attributes[f"{INDEXES[kind]}pk"] = pk
        attributes[f"{INDEXES[kind]}sk"] = sk
    if entry.producer is not None and entry.sequence is not None:
        attributes[f"{INDEXES[PRODUCER]}pk"] = partition(PRODUCER, entry.producer)
        attributes[f"{INDEXES[PRODUCER]}sk"] = sequence_sk(entry.sequence)
    return attributes


def sequence_sk(sequence: int) -> str:
    """A sequence's place in its producer's partition."""
    return f"{sequence:0{_SEQUENCE_DIGITS}}"


def marker_key(position: Position) -> Key:
    """A record's pending marker."""
    shard = shard_of(position.event_id, len(PENDING_SHARDS))
    return {"pk": PENDING_SHARDS[shard], "sk": place(position)}


def leaf_pk(event_id: str) -> str:
    """The places of all records that were sealed under an id."""
    return f"LEAF#{event_id}"


def leaf_key(event_id: str, leaf_hash: bytes) -> Key:
    """A record's place in the log."""
    return {"pk": leaf_pk(event_id), "sk": leaf_hash.hex()}


def export_key(export_id: str) -> Key:
    """An export."""
    return {"pk": f"EXPORT#{export_id}", "sk": "EXPORT"}


def producer_key(producer: str) -> Key:
    """What is known of a producer."""
    return {"pk": PRODUCERS, "sk": producer}


def _day_stem(kind: str, value: str, day: datetime) -> str:
    stem = f"{kind}#{_bounded(value)}" if value else kind
    return f"{stem}#{day.date().isoformat()}"


def _bounded(value: str) -> str:
    encoded = value.encode()
    if len(encoded) <= _MAX_VALUE_BYTES:
        return value
    return f"sha256:{hashlib.sha256(encoded).hexdigest()}"
