"""What the domain needs from outside. Every write is conditional."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from functions.audit.domain.models import (
    Appended,
    Entry,
    Export,
    Filter,
    Found,
    FoundPage,
    Head,
    Leaf,
    Marker,
    Position,
    ProducerState,
    Searched,
    Span,
    SubjectKey,
)


class RecordWriter(Protocol):
    """The append-only table, from the side that may put."""

    async def append(self, entries: Sequence[Entry]) -> list[Appended | Exception]:
        """Stores each entry with its pending marker, both or neither; one outcome per entry.

        An exception stands for an entry that may not have been stored. Ids within one call are
        distinct.
        """

    async def check(self) -> None:
        """Raises when the store does not answer."""


class RecordReader(Protocol):
    """The append-only table, from the side that reads."""

    async def get(self, event_id: str) -> Entry | None:
        """The record, at once after it was stored."""

    async def get_many(self, event_ids: Sequence[str]) -> list[Entry]:
        """Those of the records that are there, in the order asked for."""

    async def find(
        self, wanted: Filter, span: Span, before: Position | None, limit: int
    ) -> FoundPage:
        """Records of `span`, newest first, older than `before`. Visible at once."""

    async def sequences(self, producer: str, after: int, limit: int) -> list[tuple[int, datetime]]:
        """A producer's sequences above `after`, ascending, with their acceptance times."""

    async def check(self) -> None:
        """Raises when the store does not answer."""


class Ledger(Protocol):
    """What is pending, what is sealed, and where."""

    async def head(self) -> Head:
        """The newest head, consistent; of an empty log before the first sealing."""

    async def advance(self, expected: Head, new: Head) -> bool:
        """Replaces the head if its size and `settled` still are those of `expected`."""

    async def pending(self, up_to: datetime, limit: int) -> list[Marker]:
        """Markers accepted up to `up_to`, oldest first as far as they are known, consistent."""

    async def count_pending(self) -> int:
        """How many records are stored and not sealed."""

    async def oldest_pending(self) -> datetime | None:
        """When the oldest record that is not sealed was accepted."""

    async def settle(self, leaves: Sequence[Leaf], markers: Sequence[Position]) -> None:
        """Writes each leaf's place, then removes the markers there; may be repeated."""

    async def is_pending(self, position: Position) -> bool:
        """Whether the record there waits to be sealed, consistent."""

    async def leaves(self, hashes: Mapping[str, bytes]) -> dict[str, Leaf]:
        """The places of those records that are sealed, asked for by event id and leaf hash."""

    async def history(self, event_id: str) -> list[Leaf]:
        """The places of all records that were sealed under the id, in the log's order."""


class EvidenceStore(Protocol):
    """The bucket of tiles, batches and checkpoints: objects are created once, never replaced."""

    async def create(self, name: str, content: bytes) -> bool:
        """Creates the object; False if there is one of that name."""

    async def read(self, name: str) -> bytes | None:
        """The object's content, None if there is none."""


class Signer(Protocol):
    """The log's Ed25519 key (RFC 8032)."""

    async def sign(self, message: bytes) -> bytes:
        """64 bytes of signature."""

    async def public_key(self) -> bytes:
        """The 32 bytes of the public key."""


class SubjectKeys(Protocol):
    """The table of wrapped data keys, one per person."""

    async def find(self, user_ids: Sequence[int]) -> dict[int, SubjectKey]:
        """The keys that there are, consistent."""

    async def create(self, key: SubjectKey) -> SubjectKey:
        """Stores the key unless the person has one; returns the one that is there then."""

    async def delete(self, user_id: int) -> bool:
        """Removes the person's key for good; False if there was none."""


class KeyWrapping(Protocol):
    """The one KMS key that wraps the data keys."""

    async def generate(self, user_id: int) -> tuple[bytes, bytes]:
        """A new 256-bit data key: plain, and wrapped for this person."""

    async def unwrap(self, key: SubjectKey) -> bytes:
        """The plain data key. Raises `KeyUnavailableError`."""


class ColdStore(Protocol):
    """The archive, for interactive queries."""

    async def find(
        self, wanted: Filter, span: Span, before: Position | None, limit: int
    ) -> FoundPage:
        """As `RecordReader.find`. Raises `RangeTooWideError` where too much would be read."""

    async def get(self, event_id: str, span: Span) -> Found | None:
        """The newest record of that id accepted within `span`. Raises `RangeTooWideError`."""

    async def check(self) -> None:
        """Raises when the archive does not answer."""


class Archive(Protocol):
    """The way into the archive."""

    async def put(self, rows: Sequence[bytes]) -> list[int]:
        """Hands over newline-packed rows; returns the positions of those that were refused."""


class ArchiveReader(Protocol):
    """The archive, for exports: as much as there is, at its own pace."""

    def read(self, wanted: Filter, span: Span) -> AsyncIterator[Found]:
        """Records of `span`, each id once, in no order."""


class Exports(Protocol):
    """The exports asked for."""

    async def create(self, export: Export) -> Export:
        """Stores it unless there is one of that id; returns the one that is there then."""

    async def get(self, export_id: str) -> Export | None:
        """The export, consistent."""

    async def list(self, limit: int, position: str | None) -> tuple[list[Export], str | None]:
        """Newest first, and the position of the next page."""

    async def update(self, export: Export) -> Export:
        """Replaces it if its version is still `export.version`; returns it with the next version.

        Raises `ExportConflictError`.
        """


class ExportQueue(Protocol):
    """Work for the exporter; carries ids, nothing else."""

    async def send(self, export_id: str) -> None:
        """Has the export made."""


class ExportFiles(Protocol):
    """The bucket of finished bundles."""

    async def put(self, name: str, path: str) -> int:
        """Stores the file at `path`; returns its size in bytes."""

    async def link(self, name: str, seconds: int) -> str:
        """A link to it that works for `seconds` at most."""


class Producers(Protocol):
    """What is known of each producer's completeness."""

    async def all(self) -> list[ProducerState]:
        """Every producer that has reported with a sequence."""

    async def save(self, state: ProducerState) -> bool:
        """Replaces the state if its version is still the one read; False if it is not."""

    async def register(self, producer: str) -> None:
        """Makes the producer known, once."""


class SearchState(Protocol):
    """How far the search for records outside of the log came."""

    async def load(self) -> Searched | None:
        """What was saved last, consistent; None before the first time."""

    async def save(self, searched: Searched) -> bool:
        """Replaces it if its version is still the one before; False if it is not."""


class SealNow(Protocol):
    """Runs the sealer in its own function."""

    async def seal(self) -> Mapping[str, object]:
        """Seals everything accepted before this call; the sealer's answer."""


class ExportSigner(Protocol):
    """Has the sealer's function sign, which alone may."""

    async def sign_export(self, digest: bytes) -> str:
        """The note of the export with this SHA-256. Raises `SealingError`."""


class Cipher(Protocol):
    """Authenticated encryption under a 256-bit key."""

    def encrypt(self, key: bytes, plain: bytes, bound_to: bytes) -> bytes:
        """The ciphertext, which decrypts only together with `bound_to`."""

    def decrypt(self, key: bytes, ciphertext: bytes, bound_to: bytes) -> bytes | None:
        """What was encrypted; None if this is not what `encrypt` gave for the same arguments."""


class IntakeQueue(Protocol):
    """The queue of events that are recorded without their reporter waiting."""

    async def send(self, event: Mapping[str, object], reported_by: str) -> None:
        """Has an `AuditEventCreate` recorded; returns when the queue has it."""
