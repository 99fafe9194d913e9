"""What the audit sink is about. Times are aware UTC datetimes, hashes are 32 raw bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Category = Literal["user", "system", "security", "data"]
Severity = Literal["low", "medium", "high", "critical"]

JsonObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewEvent:
    """What a producer reports, checked against the contract and not yet stored.

    `event_id` is the producer's own, or one made for it: by it a repetition is known.
    """

    event_id: str
    event_type: str
    resource: str
    action: str
    metadata: JsonObject
    user_id: int | None = None
    request_id: str | None = None
    session_id: str | None = None
    producer: str | None = None
    sequence: int | None = None
    occurred_at: datetime | None = None
    severity: Severity | None = None
    data_classification: str | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a stored record is found by."""

    event_type: str
    resource: str
    action: str
    user_id: int | None = None
    request_id: str | None = None
    session_id: str | None = None
    severity: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as it is stored, once and for ever.

    `record` is the canonical JSON (RFC 8785, UTF-8) that is hashed, archived and exported.
    `fingerprint` tells a repetition of the same report from another report under the same id.
    """

    event_id: str
    accepted_at: datetime
    record: bytes
    fingerprint: str
    terms: Terms
    producer: str | None = None
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class Appended:
    """What came of one entry: `created`, or the entry that was there before."""

    entry: Entry
    created: bool


@dataclass(frozen=True, slots=True)
class Filter:
    """What a query asks for; None does not narrow. `resource_prefix` excludes `resource`."""

    event_type: str | None = None
    user_id: int | None = None
    resource: str | None = None
    resource_prefix: str | None = None
    action: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    severity: str | None = None

    def matches(self, terms: Terms) -> bool:
        """Whether a record with `terms` is asked for."""
        wanted = (
            (self.event_type, terms.event_type),
            (self.user_id, terms.user_id),
            (self.resource, terms.resource),
            (self.action, terms.action),
            (self.request_id, terms.request_id),
            (self.session_id, terms.session_id),
            (self.severity, terms.severity),
        )
        return all(want is None or want == have for want, have in wanted) and (
            self.resource_prefix is None or terms.resource.startswith(self.resource_prefix)
        )


@dataclass(frozen=True, slots=True)
class Span:
    """A range of acceptance times: from `start` on, before `end`."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A record's place in time; ids order records of one microsecond."""

    accepted_at: datetime
    event_id: str


@dataclass(frozen=True, slots=True)
class Found:
    """A record found by a query."""

    position: Position
    record: bytes


@dataclass(frozen=True, slots=True)
class FoundPage:
    """Records newest first; `next_before` is where the next page goes on, None at the end.

    A page may hold fewer records than asked for, or none, while there is a next one.
    """

    items: Sequence[Found]
    next_before: Position | None


@dataclass(frozen=True, slots=True)
class Searched:
    """How far the search for records outside of the log came.

    What was accepted before `through` was looked at; of the window from there to before `end` what
    is not older than `before`, nothing of it if that is None. `version` counts the pages.
    """

    through: datetime
    end: datetime
    before: Position | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Marker:
    """A stored record that the log does not hold yet. `leaf_hash` is RFC 6962's."""

    event_id: str
    accepted_at: datetime
    leaf_hash: bytes
    terms: Terms


@dataclass(frozen=True, slots=True)
class Leaf:
    """A record's place in the log.

    An id that is used again once its record has left the table names several.
    """

    index: int
    event_id: str
    leaf_hash: bytes
    accepted_at: datetime


@dataclass(frozen=True, slots=True)
class Head:
    """The newest sealed state of the log.

    `frontier` holds the hashes of the perfect subtrees that make up the tree, largest first (one
    per set bit of `size`); with it the tree grows without reading it. `batch_start` is the size
    before the newest batch; `settled` tells that nothing of that batch is left to do.
    """

    size: int
    root: bytes
    frontier: Sequence[bytes]
    sealed_at: datetime | None
    batch_start: int
    settled: bool


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That a record is in the log of `tree_size`; `path` is RFC 6962's audit path, leaf first."""

    event_id: str
    leaf_index: int
    leaf_hash: bytes
    tree_size: int
    path: Sequence[bytes]
    checkpoint: str
    record: bytes


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """That the log of `second` begins with the log of `first` (RFC 6962, section 2.1.2)."""

    first: int
    second: int
    path: Sequence[bytes]
    first_checkpoint: str
    second_checkpoint: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed statement of size and root (C2SP tlog-checkpoint, signed note)."""

    size: int
    root: bytes
    text: str
    sealed_at: datetime


@dataclass(frozen=True, slots=True)
class SubjectKey:
    """The data key of one person: deleting it erases what is encrypted under it."""

    user_id: int
    key_id: str
    wrapped: bytes


ExportStatus = Literal["queued", "running", "completed", "failed"]


@dataclass(frozen=True, slots=True)
class Export:
    """An export of a range: a bundle that can be verified offline."""

    export_id: str
    status: ExportStatus
    span: Span
    filter: Filter
    requested_by: str
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    version: int = 1
    records: int = 0
    proven: int = 0
    object_name: str | None = None
    size_bytes: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Sequences `first` to `last` of a producer that never arrived.

    `after` and `before` are when the neighbours were accepted; `after` is None for a gap at the
    very beginning.
    """

    producer: str
    first: int
    last: int
    after: datetime | None
    before: datetime


@dataclass(frozen=True, slots=True)
class ProducerState:
    """How far a producer's reports are known to be complete.

    All up to `through` have arrived, but for those in `gaps`.
    """

    producer: str
    through: int
    through_at: datetime | None
    gaps: Sequence[Gap] = field(default_factory=tuple)
    version: int = 0
