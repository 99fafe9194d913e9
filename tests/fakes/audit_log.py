"""The log's ports in memory: ledger, evidence and signer, as interruptible as the real ones."""

import asyncio
import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from functions.audit.domain.merkle import EMPTY_ROOT, leaf_hash
from functions.audit.domain.models import Head, Leaf, Marker, Position, Terms
from functions.audit.domain.proofs import ProofService
from functions.audit.domain.sealer_calls import SealingFunction, export_event
from functions.audit.domain.sealing import Sealer

LOG_NAME = "audit.example/test"
START = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
EMPTY_HEAD = Head(0, EMPTY_ROOT, (), None, 0, settled=True)
TERMS = Terms("user_action", "card/1", "move")


class KilledError(Exception):
    """The process died here."""


class Interruptions:
    """What happens around each call of a port.

    With a `random`, other tasks run before and after the call. `kill_at` is the number of the
    call, from 1 on, at which the process dies: before its effect, or with `after` after it.
    """

    def __init__(
        self, chance: random.Random | None = None, kill_at: int | None = None, after: bool = False
    ) -> None:
        self._random = chance
        self._kill_at = kill_at
        self._after = after
        self.calls: list[str] = []

    async def before(self, call: str) -> None:
        self.calls.append(call)
        await self._pause()
        if not self._after:
            self._kill()

    async def done(self) -> None:
        if self._after:
            self._kill()
        await self._pause()

    async def _pause(self) -> None:
        if self._random:
            for _ in range(self._random.randrange(4)):
                await asyncio.sleep(0)

    def _kill(self) -> None:
        if self._kill_at is not None and len(self.calls) >= self._kill_at:
            raise KilledError


@dataclass
class MemoryLedger:
    """`ports.Ledger`; processes of one ledger share `state`."""

    state: "LedgerState" = field(default_factory=lambda: LedgerState())  # noqa: PLW0108
    interruptions: Interruptions = field(default_factory=Interruptions)

    async def head(self) -> Head:
        await self.interruptions.before("head")
        head = self.state.head
        await self.interruptions.done()
        return head

    async def advance(self, expected: Head, new: Head) -> bool:
        await self.interruptions.before("advance")
        current = self.state.head
        won = (current.size, current.settled) == (expected.size, expected.settled)
        if won:
            self.state.head = new
        await self.interruptions.done()
        return won

    async def pending(self, up_to: datetime, limit: int) -> list[Marker]:
        await self.interruptions.before("pending")
        due = [marker for marker in self.state.markers.values() if marker.accepted_at <= up_to]
        due.sort(key=lambda marker: (marker.accepted_at, marker.event_id))
        await self.interruptions.done()
        return due[:limit]

    async def count_pending(self) -> int:
        return len(self.state.markers)

    async def oldest_pending(self) -> datetime | None:
        return min((marker.accepted_at for marker in self.state.markers.values()), default=None)

    async def settle(self, leaves: Sequence[Leaf], markers: Sequence[Position]) -> None:
        await self.interruptions.before("settle leaves")
        for leaf in leaves:
            self.state.leaves[leaf.event_id, leaf.leaf_hash] = leaf
        await self.interruptions.done()
        for half in (markers[::2], markers[1::2]):
            await self.interruptions.before("settle markers")
            for marker in half:
                self.state.markers.pop(Position(marker.accepted_at, marker.event_id), None)
            await self.interruptions.done()

    async def is_pending(self, position: Position) -> bool:
        return position in self.state.markers

    async def leaves(self, hashes: Mapping[str, bytes]) -> dict[str, Leaf]:
        await self.interruptions.before("leaves")
        found = {
            named[0]: self.state.leaves[named]
            for named in hashes.items()
            if named in self.state.leaves
        }
        await self.interruptions.done()
        return found

    async def history(self, event_id: str) -> list[Leaf]:
        leaves = [leaf for leaf in self.state.leaves.values() if leaf.event_id == event_id]
        return sorted(leaves, key=lambda leaf: leaf.index)


@dataclass
class LedgerState:
    """What a ledger table holds."""

    head: Head = EMPTY_HEAD
    markers: dict[Position, Marker] = field(default_factory=dict)
    leaves: dict[tuple[str, bytes], Leaf] = field(default_factory=dict)

    def put(self, marker: Marker) -> None:
        self.markers[Position(marker.accepted_at, marker.event_id)] = marker


@dataclass
class MemoryEvidence:
    """`ports.EvidenceStore`; processes of one bucket share `objects`."""

    objects: dict[str, bytes] = field(default_factory=dict)
    interruptions: Interruptions = field(default_factory=Interruptions)

    async def create(self, name: str, content: bytes) -> bool:
        await self.interruptions.before(f"create {name}")
        created = name not in self.objects
        self.objects.setdefault(name, content)
        await self.interruptions.done()
        return created

    async def read(self, name: str) -> bytes | None:
        await self.interruptions.before(f"read {name}")
        content = self.objects.get(name)
        await self.interruptions.done()
        return content


class MemorySigner:
    """`ports.Signer` with a key made from `seed`."""

    def __init__(self, seed: int = 1, interruptions: Interruptions | None = None) -> None:
        digest = hashlib.sha256(str(seed).encode()).digest()
        self.private = Ed25519PrivateKey.from_private_bytes(digest)
        self.interruptions = interruptions or Interruptions()

    async def sign(self, message: bytes) -> bytes:
        await self.interruptions.before("sign")
        signature = self.private.sign(message)
        await self.interruptions.done()
        return signature

    async def public_key(self) -> bytes:
        return self.private.public_key().public_bytes_raw()


class MemoryMetrics:
    """`ports.Metrics`."""

    def __init__(self) -> None:
        self.values: list[Mapping[str, float]] = []

    async def put(self, values: Mapping[str, float]) -> None:
        self.values.append(dict(values))


class MemoryLog:
    """A whole log: records, ledger, evidence, key; and the services over them."""

    def __init__(self) -> None:
        self.now = START
        self.records: dict[str, bytes] = {}
        self.state = LedgerState()
        self.objects: dict[str, bytes] = {}
        self.signer = MemorySigner()
        self.metrics = MemoryMetrics()

    def clock(self) -> datetime:
        return self.now

    def accept(self, event_id: str, record: bytes | None = None, terms: Terms = TERMS) -> bytes:
        """A record with its marker, a millisecond after the one before."""
        self.now += timedelta(milliseconds=1)
        text = self.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        record = record or f'{{"event_id":"{event_id}","timestamp":"{text}"}}'.encode()
        self.records[event_id] = record
        self.state.put(Marker(event_id, self.now, leaf_hash(record), terms))
        return record

    async def place(self, event_id: str) -> Leaf:
        """Where the record is in the log."""
        hashes = {event_id: leaf_hash(self.records[event_id])}
        return (await MemoryLedger(self.state).leaves(hashes))[event_id]

    def accept_many(self, count: int, prefix: str = "e") -> None:
        for number in range(count):
            self.accept(f"{prefix}{number:06}")

    def sealer(
        self, interruptions: Interruptions | None = None, batch_size: int = 10_000
    ) -> Sealer:
        """One more process that seals."""
        interruptions = interruptions or Interruptions()
        return Sealer(
            MemoryLedger(self.state, interruptions),
            MemoryEvidence(self.objects, interruptions),
            MemorySigner(interruptions=interruptions),
            LOG_NAME,
            self.clock,
            batch_size,
        )

    async def seal(self) -> int:
        """Seals all there is, to the end; returns the log's size."""
        result = await self.sealer().run(self.now)
        assert result.complete
        return self.state.head.size

    def sealing_function(self) -> SealingFunction:
        """The sealer as its function runs it."""
        return SealingFunction(
            self.sealer(), self.signer, LOG_NAME, self.metrics, self.clock, timedelta(0)
        )

    def proofs(self) -> ProofService:
        """A process that proves."""

        async def record(event_id: str) -> bytes | None:
            return self.records.get(event_id)

        return ProofService(
            record,
            MemoryLedger(self.state),
            MemoryEvidence(self.objects),
            MemorySigner(),
            self.metrics,
            LOG_NAME,
            seal_interval_seconds=60,
        )

    def copy(self) -> "MemoryLog":
        """The same log, to be changed."""
        other = MemoryLog()
        other.now = self.now
        other.records = dict(self.records)
        other.state = replace(
            self.state, markers=dict(self.state.markers), leaves=dict(self.state.leaves)
        )
        other.objects = dict(self.objects)
        return other


class LogExportSigner:
    """`ports.ExportSigner` of a log."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def sign_export(self, digest: bytes) -> str:
        return str((await self._log.sealing_function().run(export_event(digest)))["note"])
