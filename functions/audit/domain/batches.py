"""Batches: which records the log takes next, in which order; whoever creates one decides it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from functions.audit.domain.errors import ForkError
from functions.audit.domain.models import Leaf, Marker, Position
from functions.audit.domain.tiles import HASH_BYTES
from servicekit.clock import from_text, to_text


@dataclass(frozen=True, slots=True)
class Batch:
    """Records to append to the log of size `start`, with when each was accepted."""

    start: int
    sealed_at: datetime
    leaves: Sequence[Leaf]

    @property
    def end(self) -> int:
        """The log's size with them."""
        return self.start + len(self.leaves)

    @property
    def positions(self) -> list[Position]:
        """Where the records' markers are."""
        return [Position(leaf.accepted_at, leaf.event_id) for leaf in self.leaves]


def name_of(start: int) -> str:
    """The name in the evidence store of the batch that continues the log of a size."""
    return f"batch/{start}"


def batch_of(start: int, sealed_at: datetime, markers: Sequence[Marker]) -> Batch:
    """The batch of these records in this order."""
    return Batch(
        start,
        sealed_at,
        [
            Leaf(index, marker.event_id, marker.leaf_hash, marker.accepted_at)
            for index, marker in enumerate(markers, start)
        ],
    )


def encode(batch: Batch) -> bytes:
    """{"sealed_at", "leaves": [[event id, leaf hash in hex, accepted at], ...]} as JSON."""
    leaves = [
        [leaf.event_id, leaf.leaf_hash.hex(), to_text(leaf.accepted_at)] for leaf in batch.leaves
    ]
    content = {"sealed_at": to_text(batch.sealed_at), "leaves": leaves}
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def decode(start: int, content: bytes) -> Batch:
    """The inverse of `encode`. Raises `ForkError` for what no sealer writes."""
    try:
        members = json.loads(content)
        sealed_at = from_text(members["sealed_at"])
        rows = [
            (event_id, bytes.fromhex(leaf_hash), from_text(accepted_at))
            for event_id, leaf_hash, accepted_at in members["leaves"]
        ]
        distinct = len({event_id for event_id, _, _ in rows})
    except (ValueError, KeyError, TypeError):
        raise ForkError(f"{name_of(start)} is no batch") from None
    if not rows or distinct != len(rows) or any(len(row[1]) != HASH_BYTES for row in rows):
        raise ForkError(f"{name_of(start)} is no batch")
    return Batch(
        start,
        sealed_at,
        [Leaf(index, *row) for index, row in enumerate(rows, start)],
    )
