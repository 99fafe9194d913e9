"""Sealing: pending records become leaves of the log, each once, by however many sealers at once.

What the log takes after size n is decided by one object, `batch/<n>`, which only one sealer can
create. All that follows from it is the same whoever does it, so a sealer that comes second, or
after a crash, goes on where the first one stopped:

1. the head; if its batch is not settled, that is done first
2. `batch/<n>`, made of the pending records unless there is one already
3. tiles, 4. `checkpoint/<m>`, 5. the head, of size m and not settled
6. places written and markers removed, 7. the head, settled

Why nothing is sealed twice: a batch is made at a settled head from markers read after it. Markers
of all that the log of size n holds are gone by then, and of what others sealed meanwhile none can
be in `batch/<n>`, because then it exists and creating it fails. A head that was lost or restored
is made anew from the batches.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from contracts.audit.audit_verify import RefusedError, TreeHead
from functions.audit.domain import batches, checkpoint, merkle, notes, tiles
from functions.audit.domain.batches import Batch
from functions.audit.domain.errors import ForkError, SealingError
from functions.audit.domain.models import Checkpoint, Head, Marker, Position
from functions.audit.domain.ports import EvidenceStore, Ledger, Signer
from functions.audit.domain.tiles import TileError, TileReader
from servicekit.clock import Clock

BATCH_SIZE = 10_000
"""Records of one batch: some 1.3 MB of JSON."""

_PARALLEL_WRITES = 16
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SealResult:
    """What came of a run.

    `sealed` records were added by this sealer. `checkpoint` is the newest, None of an empty log.
    `complete` tells that nothing accepted up to the time asked for was left; `forks` that the
    evidence contradicts the ledger, which needs a person.
    """

    sealed: int
    checkpoint: Checkpoint | None
    complete: bool
    forks: int
    oldest_pending_seconds: float

    def metrics(self) -> Mapping[str, float]:
        """The figures that alarms watch."""
        return {
            "SealedRecords": self.sealed,
            "LogForks": self.forks,
            "OldestPendingSeconds": self.oldest_pending_seconds,
        }


class Sealer:
    """Extends one log."""

    def __init__(
        self,
        ledger: Ledger,
        evidence: EvidenceStore,
        signer: Signer,
        log_name: str,
        clock: Clock,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        self._ledger = ledger
        self._evidence = evidence
        self._tiles = TileReader(evidence)
        self._signer = signer
        self._log_name = log_name
        self._clock = clock
        self._batch_size = batch_size

    async def run(self, up_to: datetime, deadline: datetime | None = None) -> SealResult:
        """Seals what was accepted up to `up_to`, batch by batch; begins none after `deadline`.

        Raises `SealingError`, `KeyUnavailableError` and `StoreUnavailableError`; the next run
        completes what this one began.
        """
        sealed = 0
        complete = False
        newest: Checkpoint | None = None
        forks = 0
        try:
            while not complete and (deadline is None or self._clock() < deadline):
                added = await self._seal_next(up_to)
                complete = added is None
                sealed += added or 0
            newest = await self._newest()
        except ForkError:
            _logger.exception("the log is forked", extra={"log": self._log_name})
            forks, complete = 1, False
        return SealResult(sealed, newest, complete, forks, await self.oldest_pending_seconds())

    async def oldest_pending_seconds(self) -> float:
        """How long the oldest record that is not sealed has waited."""
        oldest = await self._ledger.oldest_pending()
        return 0.0 if oldest is None else max(0.0, (self._clock() - oldest).total_seconds())

    async def _seal_next(self, up_to: datetime) -> int | None:
        """Brings the log one batch further; returns how many records that added, None for no batch.

        0 when another sealer was first.
        """
        head = await self._ledger.head()
        if not head.settled:
            await self._settle(head, await self._existing_batch(head.batch_start))
            return 0
        batch = await self._batch_at(head.size) or await self._new_batch(head.size, up_to)
        if batch is None:
            return None
        grown = await self._publish(head, batch)
        if not await self._ledger.advance(head, grown):
            return 0
        await self._settle(grown, batch)
        return len(batch.leaves)

    async def _new_batch(self, size: int, up_to: datetime) -> Batch | None:
        while markers := await self._ledger.pending(up_to, self._batch_size):
            fresh = await self._not_sealed(markers, size)
            if fresh:
                batch = batches.batch_of(size, self._clock(), fresh)
                if await self._evidence.create(batches.name_of(size), batches.encode(batch)):
                    return batch
                return await self._existing_batch(size)
        return None

    async def _not_sealed(self, markers: Sequence[Marker], size: int) -> list[Marker]:
        """One marker of each record that the log lacks; removes those that say nothing new.

        Another record under an id that is taken is not one of these: it is sealed in its turn.
        """
        distinct: dict[str, Marker] = {}
        for marker in markers:
            distinct.setdefault(marker.event_id, marker)
        held = await self._held(distinct, size)
        fresh = [
            marker for marker in distinct.values() if held.get(marker.event_id) != marker.leaf_hash
        ]
        useless = [
            Position(marker.accepted_at, marker.event_id)
            for marker in markers
            if held.get(marker.event_id) == marker.leaf_hash
            or _repeats(marker, distinct[marker.event_id])
        ]
        if useless:
            _logger.warning("markers without need", extra={"count": len(useless)})
            await self._ledger.settle([], useless)
        return fresh

    async def _held(self, markers: Mapping[str, Marker], size: int) -> dict[str, bytes]:
        """Leaf hashes that the log of `size` has of these records.

        The ledger says where to look; only the tiles say what is there.
        """
        hashes = {event_id: marker.leaf_hash for event_id, marker in markers.items()}
        places = (await self._ledger.leaves(hashes)).values()
        leaves = [leaf for leaf in places if 0 <= leaf.index < size]
        try:
            read = await self._tiles.load(((leaf.index, leaf.index + 1) for leaf in leaves), size)
        except TileError as error:
            raise ForkError(str(error)) from None
        return {
            leaf.event_id: leaf.leaf_hash
            for leaf in leaves
            if read(0, leaf.index) == leaf.leaf_hash
        }

    async def _batch_at(self, size: int) -> Batch | None:
        content = await self._evidence.read(batches.name_of(size))
        return None if content is None else batches.decode(size, content)

    async def _existing_batch(self, size: int) -> Batch:
        batch = await self._batch_at(size)
        if batch is None:
            raise ForkError(f"{batches.name_of(size)} is gone")
        return batch

    async def _publish(self, head: Head, batch: Batch) -> Head:
        """Writes the batch's tiles and checkpoint; returns the head that tells of them."""
        hashes = [leaf.leaf_hash for leaf in batch.leaves]
        edge = await self._edge(head)
        frontier = merkle.extend(head.size, head.frontier, hashes)
        root = merkle.join(frontier)
        gained = tiles.grow(head.size, edge, hashes)
        await _bounded(self._create(tile.path, content) for tile, content in gained.items())
        await self._create_checkpoint(batch.end, root)
        return Head(batch.end, root, frontier, batch.sealed_at, head.size, settled=False)

    async def _edge(self, head: Head) -> list[tiles.Row]:
        """The hashes at the tree's right edge, once what is stored of the head agrees with it.

        Raises `ForkError`.
        """
        if head.size:
            await self._checkpoint_of(head)
        try:
            edge = [
                tiles.parse(tile, await self._evidence.read(tile.path)) if tile else []
                for tile in tiles.edge_tiles(head.size)
            ]
        except TileError as error:
            raise ForkError(str(error)) from None
        if tiles.edge_frontier(edge) != list(head.frontier):
            raise ForkError(f"the tiles of {head.size} are not those of the head")
        return edge

    async def _create(self, name: str, content: bytes) -> None:
        if not await self._evidence.create(name, content):
            existing = await self._existing(name)
            if existing != content:
                raise ForkError(f"{name} exists with other content")

    async def _create_checkpoint(self, size: int, root: bytes) -> None:
        """Two signatures over one text may differ: what counts is the text, and that it is ours."""
        name = checkpoint.name_of(size)
        text = await checkpoint.sign(self._signer, self._log_name, size, root)
        if not await self._evidence.create(name, text.encode()):
            await self._check_checkpoint(name, await self._existing(name), size, root)

    async def _check_checkpoint(self, name: str, content: bytes, size: int, root: bytes) -> None:
        key = await notes.key_of(self._signer, self._log_name)
        try:
            stated = checkpoint.read(content, key)
        except RefusedError as refusal:
            raise ForkError(f"{name}: {refusal}") from None
        if stated != TreeHead(self._log_name, size, root):
            raise ForkError(f"{name} states another log")

    async def _existing(self, name: str) -> bytes:
        content = await self._evidence.read(name)
        if content is None:
            raise SealingError("An object was there when it was created and gone when it was read.")
        return content

    async def _settle(self, head: Head, batch: Batch) -> None:
        if batch.end != head.size:
            raise ForkError(f"{batches.name_of(batch.start)} does not end at {head.size}")
        await self._ledger.settle(batch.leaves, batch.positions)
        # False: another sealer has settled it as well.
        await self._ledger.advance(head, replace(head, settled=True))

    async def _newest(self) -> Checkpoint | None:
        head = await self._ledger.head()
        if head.sealed_at is None:
            return None
        text = await self._checkpoint_of(head)
        return Checkpoint(head.size, head.root, text, head.sealed_at)

    async def _checkpoint_of(self, head: Head) -> str:
        name = checkpoint.name_of(head.size)
        content = await self._evidence.read(name)
        if content is None:
            raise ForkError(f"{name} is gone")
        await self._check_checkpoint(name, content, head.size, head.root)
        return content.decode()


def _repeats(marker: Marker, first: Marker) -> bool:
    return marker.accepted_at != first.accepted_at and marker.leaf_hash == first.leaf_hash


async def _bounded(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Does all of it, a few at a time, to the end; then raises the first error, if any."""
    slots = asyncio.Semaphore(_PARALLEL_WRITES)

    async def one(work: Coroutine[Any, Any, None]) -> None:
        async with slots:
            await work

    for outcome in await asyncio.gather(*map(one, works), return_exceptions=True):
        if outcome is not None:
            raise outcome
