"""Proofs from the log. What leaves here has passed the verifier's own checks, or nothing does."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from contracts.audit.audit_verify import EMPTY_ROOT, Key, RefusedError, TreeHead
from functions.audit.domain import checkpoint, merkle, notes
from functions.audit.domain.errors import (
    CheckpointNotFoundError,
    EventNotFoundError,
    LogInconsistentError,
    NotSealedError,
)
from functions.audit.domain.models import (
    Checkpoint,
    ConsistencyProof,
    Head,
    InclusionProof,
    Leaf,
    Position,
)
from functions.audit.domain.ports import EvidenceStore, Ledger, Signer
from functions.audit.domain.tiles import TileError, TileReader
from servicekit.clock import from_text
from servicekit.errors import InvalidRequestError
from servicekit.metrics import Metrics

_logger = logging.getLogger(__name__)

RecordSource = Callable[[str], Awaitable[bytes | None]]
"""The bytes of the record of an event id, from wherever they are kept; None if there is none."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a record stands in the log, and its audit path there."""

    leaf_index: int
    path: Sequence[bytes]


class ProofService:
    """What callers may ask of one log.

    Raises `LogInconsistentError` where what is stored proves something else, `KeyUnavailableError`
    and `StoreUnavailableError`.
    """

    def __init__(
        self,
        records: RecordSource,
        ledger: Ledger,
        evidence: EvidenceStore,
        signer: Signer,
        metrics: Metrics,
        log_name: str,
        seal_interval_seconds: int,
    ) -> None:
        self._records = records
        self._ledger = ledger
        self._evidence = evidence
        self._signer = signer
        self._metrics = metrics
        self._log_name = log_name
        self._seal_interval_seconds = seal_interval_seconds
        self._tiles = TileReader(evidence)

    async def key(self) -> Key:
        """The log's public key; its `vkey` is what verifiers are given."""
        return await notes.key_of(self._signer, self._log_name)

    async def latest(self) -> Checkpoint:
        """The newest checkpoint. Raises `CheckpointNotFoundError` while the log is empty."""
        head = await self._ledger.head()
        if head.sealed_at is None:
            raise CheckpointNotFoundError("Nothing has been sealed yet.")
        stated, text = await self._checkpoint(head.size)
        if stated.root != head.root:
            await self._refuse(f"checkpoint {head.size} is not of the head")
        return Checkpoint(head.size, head.root, text, head.sealed_at)

    async def inclusion(self, event_id: str) -> InclusionProof:
        """That a record is in the log of the newest checkpoint.

        Raises `EventNotFoundError`, and `NotSealedError` with when to ask again.
        """
        record = await self._records(event_id)
        if record is None:
            held = [str(leaf.index) for leaf in await self._ledger.history(event_id)]
            detail = f"Its record is gone; the log holds it as leaf {', '.join(held)}."
            raise EventNotFoundError(detail if held else None)
        records = {event_id: record}
        # The place before the head: a place seen is below the size of a head read after it.
        leaf = (await self._leaves(records)).get(event_id)
        if leaf is None:
            raise NotSealedError(
                "The event is stored and becomes part of the log with the next sealing:"
                f" there is one every {self._seal_interval_seconds} s.",
                retry_after=self._seal_interval_seconds,
            )
        newest = await self.latest()
        placed = await self._place(records, {event_id: leaf}, newest)
        if event_id not in placed:
            await self._refuse(f"leaf {leaf.index} is beyond the head")
        return InclusionProof(
            event_id=event_id,
            leaf_index=leaf.index,
            leaf_hash=leaf.leaf_hash,
            tree_size=newest.size,
            path=placed[event_id].path,
            checkpoint=newest.text,
            record=record,
        )

    async def place(self, records: Mapping[str, bytes], newest: Checkpoint) -> dict[str, Placed]:
        """Of records by event id, those in the log of `newest` (an answer of `latest`): where."""
        return await self._place(records, await self._leaves(records), newest)

    async def consistency(self, first: int, second: int) -> ConsistencyProof:
        """That the log of `second` begins with that of `first`.

        Every log begins with the empty one, which has no checkpoint: with `first` 0 its text is
        empty. Raises `CheckpointNotFoundError`, and `InvalidRequestError` if `first` is larger.
        """
        if not 0 <= first <= second:
            message = "must be at least 0 and at most `to`"
            raise InvalidRequestError(errors=[{"field": "from", "message": message}])
        old, old_text = await self._state(first)
        new, new_text = await self._state(second)
        path: list[bytes] = []
        try:
            ranges = merkle.consistency_ranges(first, second)
            read = await self._tiles.load(ranges, second)
            path = merkle.consistency_path(first, second, read)
            merkle.check_consistency(first, second, old.root, new.root, path)
        except (TileError, RefusedError) as error:
            await self._refuse(f"{first} to {second}: {error}")
        return ConsistencyProof(first, second, path, old_text, new_text)

    async def _leaves(self, records: Mapping[str, bytes]) -> dict[str, Leaf]:
        """The places of those records that are sealed."""
        hashes = {event_id: merkle.leaf_hash(record) for event_id, record in records.items()}
        leaves = await self._ledger.leaves(hashes)
        for event_id in hashes.keys() - leaves.keys():
            # An id may be used again. But what was sealed under it may not have been replaced.
            if await self._ledger.history(event_id):
                leaf = await self._sealed_meanwhile(event_id, records[event_id])
                leaves |= {event_id: leaf} if leaf else {}
        return leaves

    async def _sealed_meanwhile(self, event_id: str, record: bytes) -> Leaf | None:
        """None while the record waits to be sealed; what neither waits nor is sealed is refused."""
        try:
            position = Position(from_text(json.loads(record)["timestamp"]), event_id)
        except (ValueError, KeyError, TypeError):
            await self._refuse(f"record {event_id} is none")
        if await self._ledger.is_pending(position):
            return None
        leaves = await self._ledger.leaves({event_id: merkle.leaf_hash(record)})
        if event_id not in leaves:
            await self._refuse(f"record {event_id} is not what was sealed under this id")
        return leaves[event_id]

    async def _place(
        self, records: Mapping[str, bytes], leaves: Mapping[str, Leaf], newest: Checkpoint
    ) -> dict[str, Placed]:
        wanted = {name: leaf for name, leaf in leaves.items() if leaf.index < newest.size}
        placed: dict[str, Placed] = {}
        try:
            read = await self._tiles.load(_ranges(wanted.values(), newest.size), newest.size)
            for event_id, leaf in wanted.items():
                path = merkle.inclusion_path(leaf.index, newest.size, read)
                hashed = merkle.leaf_hash(records[event_id])
                root = merkle.root_of_inclusion(hashed, leaf.index, newest.size, path)
                if hashed != leaf.leaf_hash or root != newest.root:
                    await self._refuse(f"record {event_id} is not leaf {leaf.index}")
                placed[event_id] = Placed(leaf.index, path)
        except (TileError, RefusedError, ValueError) as error:
            await self._refuse(f"tree {newest.size}: {error}")
        return placed

    async def _state(self, size: int) -> tuple[TreeHead, str]:
        if size == 0:
            return TreeHead(self._log_name, 0, EMPTY_ROOT), ""
        return await self._checkpoint(size)

    async def _checkpoint(self, size: int) -> tuple[TreeHead, str]:
        """A checkpoint that holds, with its text. Raises `CheckpointNotFoundError`."""
        content = await self._evidence.read(checkpoint.name_of(size))
        if content is None:
            await self._refuse_or_missing(size)
        key = await self.key()
        try:
            stated = checkpoint.read(content, key)
        except RefusedError as refusal:
            await self._refuse(f"checkpoint {size}: {refusal}")
        if stated.size != size:
            await self._refuse(f"checkpoint {size} is of another size")
        return stated, content.decode()

    async def _refuse_or_missing(self, size: int) -> NoReturn:
        """A checkpoint that the head names must be there; of other sizes there may be none."""
        head: Head = await self._ledger.head()
        if size == head.size:
            await self._refuse(f"checkpoint {size} is gone")
        raise CheckpointNotFoundError(f"The log was never sealed at size {size}.")

    async def _refuse(self, reason: str) -> NoReturn:
        _logger.error("proof refused", extra={"log": self._log_name, "reason": reason})
        self._tiles.forget()
        await self._metrics.put({"ProofsRefused": 1})
        raise LogInconsistentError


def _ranges(leaves: Iterable[Leaf], size: int) -> set[merkle.Range]:
    return {part for leaf in leaves for part in merkle.inclusion_ranges(leaf.index, size)}
