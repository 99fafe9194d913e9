"""Audit v1: the bodies that callers of the audit sink send and get.

Requests are validated against the limits below; answers are read leniently, so that a client
of today reads the service of tomorrow. Fields may be added, never removed, renamed or retyped.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from contracts.base import UtcDatetime, WireId, WireInt, WireModel, is_none
from contracts.problem import Problem

MAX_EVENT_TYPE_LENGTH = 128
MAX_ACTION_LENGTH = 128
MAX_RESOURCE_LENGTH = 400
"""Characters, of up to four bytes: each stands with a prefix in the partition key of an index,
which has 2,048 bytes at most."""

MAX_CORRELATION_LENGTH = 128
"""Characters of a request_id or a session_id: what `X-Request-Id` takes."""

MAX_EVENT_ID_LENGTH = 128
EVENT_ID_PATTERN = r'^[!"$-.0-~]{1,128}$'
"""Visible ASCII but `#`, which joins the parts of stored keys, and `/`, which no path parameter
holds."""

MAX_PRODUCER_LENGTH = 64
PRODUCER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"

MAX_SEQUENCE = 2**53 - 1
"""The largest integer that every JSON reader keeps (RFC 7493)."""

MAX_METADATA_DEPTH = 32
"""Levels of objects and lists in metadata, itself the first: far more than a report has, and no
reader's stack is in danger."""

MAX_RECORD_BYTES = 60_000
"""Bytes of a stored record in its canonical form (RFC 8785). What is beyond is a 413; an entry of
a transparency log (C2SP tlog-tiles) has a length of 16 bits."""

MAX_BATCH_EVENTS = 100
"""Events of one batch."""

MAX_BODY_BYTES = 2_500_000
"""Bytes of a request's body. A function's event, of 6 MB at most, carries the body as JSON text:
it holds this much even where every byte is escaped once more."""

MAX_FUTURE_SECONDS = 300
"""How far `occurred_at` may be ahead of the service's clock."""

MAX_CURSOR_LENGTH = 1024
"""Characters of a cursor."""

DEFAULT_PAGE_LIMIT = 50
MAX_PAGE_LIMIT = 100
DEFAULT_RECENT_LIMIT = 10

PERSONAL_FIELDS: dict[str, str] = {
    "ip_address": "The address that the person's request came from.",
    "client_ip": "The same, as proxies name it.",
    "user_agent": "The person's browser or client.",
    "username": "The name that the person signs in with.",
    "full_name": "The person's name.",
    "first_name": "The person's given name.",
    "last_name": "The person's family name.",
    "email": "The person's address for mail, where the masking policy leaves it.",
    "phone": "The person's number, where the masking policy leaves it.",
    "address": "Where the person lives or works.",
    "location": "Where the person was.",
    "date_of_birth": "The person's birthday.",
    "device_id": "What tells the person's device from others.",
}
"""Properties of metadata that tell who a person is or was: stored encrypted under a key of that
person (`user_id`), so that deleting the key erases them; replaced by `[personal]` in an event
without `user_id`. Other properties are never encrypted, at whatever depth they have such names."""

USER_EVENT_TYPE = "user_action"
SYSTEM_EVENT_TYPE = "system_event"
SECURITY_EVENT_TYPE = "security_event"
DATA_EVENT_TYPE = "data_event"

Severity = Literal["low", "medium", "high", "critical"]
DataClassification = Literal["public", "internal", "confidential", "restricted"]

EventType = Annotated[
    str, Field(min_length=1, max_length=MAX_EVENT_TYPE_LENGTH, examples=["user_action"])
]
Resource = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_RESOURCE_LENGTH,
        examples=["project/7"],
        description="What it was done to. Stored as it is sent: it must hold no personal data.",
    ),
]
Action = Annotated[str, Field(min_length=1, max_length=MAX_ACTION_LENGTH, examples=["update"])]
Correlation = Annotated[str, Field(min_length=1, max_length=MAX_CORRELATION_LENGTH)]
EventId = Annotated[
    str,
    Field(
        pattern=EVENT_ID_PATTERN,
        description="The producer's own id: what makes a repetition a repetition. Stored as it is "
        "sent: it must hold no personal data.",
    ),
]
Producer = Annotated[
    str,
    Field(
        pattern=PRODUCER_PATTERN,
        description="Who counts: the owner of `sequence`. With a sequence, what is before the "
        "first colon must be the service of the role that reports (of `santaclaude-<env>-<service>-"
        "<function>`; of another role its name; of an event of the bus its source). Without one "
        "it is free.",
    ),
]
Sequence = Annotated[
    WireInt,
    Field(
        ge=1,
        le=MAX_SEQUENCE,
        description="The producer's gapless count of its reports; needs `producer`.",
    ),
]
OccurredAt = Annotated[
    UtcDatetime,
    Field(
        description="When it happened, if that is not now; "
        f"at most {MAX_FUTURE_SECONDS} seconds ahead of the service's clock."
    ),
]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256, in hexadecimal.")]

Metadata = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "description": (
                "What else is to be known: I-JSON (RFC 7493) of at most "
                f"{MAX_METADATA_DEPTH} levels. Personal data is best put into the properties that "
                "are marked x-personal, which can be erased."
            ),
            "properties": {
                name: {"description": text, "x-personal": True}
                for name, text in PERSONAL_FIELDS.items()
            },
            "additionalProperties": True,
        }
    ),
]


class EventReport(WireModel):
    """What every kind of report may say."""

    user_id: Annotated[WireId | None, Field(description="Whose doing it was.")] = None
    resource: Resource
    action: Action
    metadata: Annotated[Metadata, Field(default_factory=dict)]
    request_id: Correlation | None = None
    session_id: Correlation | None = None
    event_id: EventId | None = None
    producer: Producer | None = None
    sequence: Sequence | None = None
    occurred_at: OccurredAt | None = None
    severity: Severity | None = None
    data_classification: DataClassification | None = None

    @model_validator(mode="after")
    def _counted_by_someone(self) -> Self:
        if self.sequence is not None and self.producer is None:
            raise PydanticCustomError("sequence_without_producer", "A sequence needs a producer")
        return self


class AuditEventCreate(EventReport):
    """Something that happened."""

    event_type: EventType


class UserEventCreate(EventReport):
    """What a person did: an event of type `user_action`, whatever the body says."""

    user_id: Annotated[WireId, Field(description="Whose doing it was.")]


class SystemEventCreate(EventReport):
    """What the system did: an event of type `system_event`, whatever the body says."""


class SecurityEventCreate(EventReport):
    """What bears on security: an event of type `security_event`, whatever the body says.

    The severity is in the metadata as well.
    """

    severity: Severity = "medium"


class DataEventCreate(EventReport):
    """An access to data: an event of type `data_event`, whatever the body says.

    The classification is in the metadata as well.
    """

    data_classification: DataClassification = "internal"


class Batch(WireModel):
    """Up to 100 events, each stored or refused by itself."""

    events: Annotated[list[AuditEventCreate], Field(min_length=1, max_length=MAX_BATCH_EVENTS)]


class MaskedField(WireModel):
    """A place in the metadata whose text was replaced before it was stored."""

    path: Annotated[str, Field(examples=["metadata.note"])]
    kinds: Annotated[list[str], Field(examples=[["email"]])]


class AuditEvent(WireModel):
    """A stored event. Fields that follow `timestamp` are absent where there is nothing to say."""

    event_type: str
    user_id: WireInt | None = None
    resource: str
    action: str
    metadata: dict[str, Any]
    request_id: str | None = None
    session_id: str | None = None
    event_id: Annotated[str, Field(examples=["01KASM0T3ZJ8W6Q1XN5V7D2B4C"])]
    timestamp: Annotated[UtcDatetime, Field(description="When it was accepted.")]
    reported_by: Annotated[
        str | None, Field(description="The role that reported it.", exclude_if=is_none)
    ] = None
    producer: Annotated[str | None, Field(exclude_if=is_none)] = None
    sequence: Annotated[WireInt | None, Field(exclude_if=is_none)] = None
    occurred_at: Annotated[UtcDatetime | None, Field(exclude_if=is_none)] = None
    severity: Annotated[str | None, Field(exclude_if=is_none)] = None
    data_classification: Annotated[str | None, Field(exclude_if=is_none)] = None
    masked: Annotated[
        list[MaskedField] | None,
        Field(description="What was replaced before it was stored.", exclude_if=is_none),
    ] = None
    erased: Annotated[
        list[str] | None,
        Field(
            description="Personal fields that cannot be read any more, e.g. `metadata.ip_address`.",
            exclude_if=is_none,
        ),
    ] = None


class BatchItem(WireModel):
    """What came of one event; `status` is what it would have been answered with alone."""

    index: Annotated[WireInt, Field(description="The event's place in the batch, from 0.")]
    status: Annotated[
        WireInt, Field(description="201 stored, 200 stored before, else an error's status.")
    ]
    event_id: Annotated[str | None, Field(exclude_if=is_none)] = None
    error: Annotated[Problem | None, Field(exclude_if=is_none)] = None


class BatchResult(WireModel):
    """What came of a batch; repeat the events whose status is 429 or 5xx."""

    message: str
    event_count: Annotated[WireInt, Field(description="Events that are stored now.")]
    results: list[BatchItem]


class EventPage(WireModel):
    """Events, newest first."""

    events: list[AuditEvent]
    has_more: bool
    next_cursor: Annotated[str | None, Field(description="`cursor` of the next page.")] = None


class RecentEvents(WireModel):
    """The newest events, newest first."""

    events: list[AuditEvent]
    count: WireInt
    note: str


class Stats(WireModel):
    """How the service stands. The first six fields are the container service's."""

    buffer_size: Annotated[WireInt, Field(description="Stored events that are not sealed yet.")]
    buffer_max_size: Annotated[WireInt, Field(description="Events of one batch at most.")]
    backends_count: WireInt
    storage_backend: str
    last_flush_time: Annotated[
        UtcDatetime | None, Field(description="When the log was sealed last.")
    ] = None
    running: bool
    tree_size: Annotated[WireInt, Field(description="Sealed events: leaves of the log.")]
    oldest_pending_at: Annotated[
        UtcDatetime | None,
        Field(description="When the oldest event that is not sealed was accepted."),
    ] = None


class Checkpoint(WireModel):
    """A signed statement of the log's size and root."""

    size: WireInt
    root_hash: Hash
    checkpoint: Annotated[
        str, Field(description="C2SP tlog-checkpoint, a signed note: what a verifier reads.")
    ]
    sealed_at: UtcDatetime
    public_key: Annotated[str, Field(description="The log's key as a C2SP signed-note vkey.")]


class Proof(WireModel):
    """That an event is in the log (RFC 6962, 2.1.1): `audit-verify proof` checks it offline."""

    event_id: str
    record: Annotated[
        str, Field(description="The stored record; SHA-256 over 0x00 and its UTF-8 is the leaf.")
    ]
    leaf_index: WireInt
    leaf_hash: Hash
    tree_size: WireInt
    path: Annotated[list[Hash], Field(description="The audit path, from the leaf's sibling up.")]
    checkpoint: Annotated[str, Field(description="The checkpoint of `tree_size`.")]


class ConsistencyProof(WireModel):
    """That the log of size `second` begins with that of size `first` (RFC 6962, 2.1.2)."""

    first: WireInt
    second: WireInt
    path: list[Hash]
    first_checkpoint: str
    second_checkpoint: str


class EventFilter(WireModel):
    """What a query or an export is narrowed to; a prefix excludes the resource itself.

    A name that it does not know is refused: what was meant to narrow must not be left out.
    """

    model_config = ConfigDict(extra="forbid")

    event_type: EventType | None = None
    user_id: WireId | None = None
    resource: Resource | None = None
    resource_prefix: Resource | None = None
    action: Action | None = None
    request_id: Correlation | None = None
    session_id: Correlation | None = None
    severity: Severity | None = None

    @model_validator(mode="after")
    def _one_of_resource_and_prefix(self) -> Self:
        if self.resource is not None and self.resource_prefix is not None:
            raise PydanticCustomError(
                "resource_and_prefix", "Only one of resource and resource_prefix may be given"
            )
        return self


class ExportCreate(WireModel):
    """Asks for a bundle of the events accepted from `start_time` on and before `end_time`."""

    start_time: UtcDatetime
    end_time: UtcDatetime
    filter: Annotated[EventFilter, Field(default_factory=EventFilter)]


class Export(WireModel):
    """A bundle of events, proofs and checkpoints, which `audit-verify` checks offline."""

    export_id: str
    status: Annotated[str, Field(description="queued, running, completed or failed.")]
    start_time: UtcDatetime
    end_time: UtcDatetime
    filter: Annotated[
        dict[str, Any], Field(description="The EventFilter that was asked for, without its nulls.")
    ]
    requested_by: str
    created_at: UtcDatetime
    updated_at: UtcDatetime
    expires_at: Annotated[UtcDatetime, Field(description="When the export is removed.")]
    records: Annotated[WireInt, Field(description="Events in the bundle so far.")]
    proven: Annotated[WireInt, Field(description="Those of them that are proven by the log.")]
    size_bytes: Annotated[WireInt | None, Field(exclude_if=is_none)] = None
    download_url: Annotated[
        str | None,
        Field(
            description="Of a completed export; works for minutes. Ask again for another.",
            exclude_if=is_none,
        ),
    ] = None
    error: Annotated[
        str | None, Field(description="Why it failed: a code.", exclude_if=is_none)
    ] = None


class ExportPage(WireModel):
    """Exports, newest first."""

    exports: list[Export]
    has_more: bool
    next_cursor: Annotated[str | None, Field(description="`cursor` of the next page.")] = None


class SequenceGap(WireModel):
    """Reports of a producer that never arrived: `first` to `last`."""

    first: WireInt
    last: WireInt
    after: Annotated[
        UtcDatetime | None, Field(description="When the report before them was accepted.")
    ] = None
    before: Annotated[UtcDatetime, Field(description="When the report after them was accepted.")]


class ProducerCompleteness(WireModel):
    """How complete a producer's reports are."""

    producer: str
    through: Annotated[
        WireInt, Field(description="All up to this one have arrived, but for the gaps.")
    ]
    through_at: UtcDatetime | None = None
    complete: bool
    gaps: list[SequenceGap]


class Reconciliation(WireModel):
    """Whether what was counted has arrived, by producer."""

    complete: bool
    producers: list[ProducerCompleteness]


class FlushResult(WireModel):
    """The log is sealed up to what was accepted before the call."""

    message: str
    sealed: Annotated[WireInt, Field(description="Events that this call sealed.")]
    checkpoint: Annotated[
        Checkpoint | None, Field(description="The newest; null while the log is empty.")
    ] = None


class SubjectErased(WireModel):
    """The key of this person is deleted: what was encrypted under it cannot be read any more."""

    message: str
    user_id: WireInt
    event_id: Annotated[str, Field(description="The event that tells of the erasure.")]
