"""Hash tiles: how the tree lies in the evidence store (https://c2sp.org/tlog-tiles).

A tile of level l holds up to 256 neighbouring hashes of the tree's level 8 l. A log of size s has
its full tiles and, at the right edge of each level, one partial tile of floor(s / 256^l) mod 256
hashes. What a proof for size s needs is read from those alone, so from objects that existed
before the checkpoint of s did.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from functions.audit.domain.merkle import (
    Node,
    NodeReader,
    Range,
    node_hash,
    perfect_root,
    subtrees,
)
from functions.audit.domain.ports import EvidenceStore

HEIGHT = 8
WIDTH = 1 << HEIGHT
HASH_BYTES = 32

# Of full tiles with their inner nodes: some 35 KB each.
_CACHED_TILES = 256
_PARALLEL_READS = 16
_GROUP = 1000

Row = list[bytes]
"""The hashes of a tile."""


class TileError(Exception):
    """A tile of the log is missing, or is none; the message names it."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile's place and its width in hashes."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Its name in the evidence store."""
        rest, last = divmod(self.index, _GROUP)
        groups = [f"{last:03}"]
        while rest:
            rest, group = divmod(rest, _GROUP)
            groups.insert(0, f"x{group:03}")
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{self.level}/{'/'.join(groups)}{partial}"


def tile_of(node: Node, size: int) -> Tile:
    """The tile of a log of `size` that a node is read from."""
    level, index = node
    tile_level, height = divmod(level, HEIGHT)
    tile_index = (index << height) >> HEIGHT
    width = (size >> HEIGHT * tile_level) - tile_index * WIDTH
    return Tile(tile_level, tile_index, min(width, WIDTH))


def edge_tiles(size: int) -> list[Tile | None]:
    """The partial tile of each level, from level 0 up; None where the level has none."""
    tiles: list[Tile | None] = []
    while size:
        index, width = divmod(size, WIDTH)
        tiles.append(Tile(len(tiles), index, width) if width else None)
        size = index
    return tiles


def edge_frontier(edge: Sequence[Row]) -> list[bytes]:
    """The log's frontier, from the hashes of its partial tiles."""
    frontier = []
    for row in reversed(edge):
        start = 0
        for height in reversed(range(HEIGHT)):
            if len(row) >> height & 1:
                frontier.append(perfect_root(row[start : start + (1 << height)]))
                start += 1 << height
    return frontier


def grow(size: int, edge: Sequence[Row], leaf_hashes: Sequence[bytes]) -> dict[Tile, bytes]:
    """The tiles that a log of `size` gains by `leaf_hashes`, with their content.

    `edge` holds the hashes of the partial tiles of `size`, level by level. Tiles that stay as
    they are, are not among the answer.
    """
    gained: dict[Tile, bytes] = {}
    level = 0
    added = list(leaf_hashes)
    while added:
        first = (size >> HEIGHT * level) // WIDTH
        row = [*(edge[level] if level < len(edge) else ()), *added]
        added = []
        for start in range(0, len(row), WIDTH):
            hashes = row[start : start + WIDTH]
            tile = Tile(level, first + start // WIDTH, len(hashes))
            gained[tile] = b"".join(hashes)
            if tile.width == WIDTH:
                added.append(perfect_root(hashes))
        level += 1
    return gained


def parse(tile: Tile, content: bytes | None) -> Row:
    """A tile's hashes. Raises `TileError` when there are not as many as there must be."""
    if content is None:
        raise TileError(f"{tile.path} is missing")
    if len(content) != tile.width * HASH_BYTES:
        raise TileError(f"{tile.path} has {len(content)} bytes")
    return [content[n : n + HASH_BYTES] for n in range(0, len(content), HASH_BYTES)]


class TileReader:
    """Reads nodes of the tree from tiles; keeps those read last, for tiles never change."""

    def __init__(self, evidence: EvidenceStore) -> None:
        self._evidence = evidence
        self._cache: OrderedDict[Tile, list[Row]] = OrderedDict()

    async def load(self, ranges: Iterable[Range], size: int) -> NodeReader:
        """A reader of all that proofs over `ranges` need, in the log of `size`.

        Raises `TileError`.
        """
        needed = {
            tile_of(node, size): None for start, stop in ranges for node in subtrees(start, stop)
        }
        slots = asyncio.Semaphore(_PARALLEL_READS)
        found = await asyncio.gather(
            *(self._rows(tile, slots) for tile in needed), return_exceptions=True
        )
        loaded: dict[Tile, list[Row]] = {}
        for tile, rows in zip(needed, found, strict=True):
            if isinstance(rows, BaseException):
                raise rows
            loaded[tile] = rows

        def read(level: int, index: int) -> bytes:
            tile = tile_of((level, index), size)
            height = level % HEIGHT
            return loaded[tile][height][index - (tile.index << HEIGHT - height)]

        return read

    def forget(self) -> None:
        """Reads anew from here on: what is kept has proved to be wrong."""
        self._cache.clear()

    async def _rows(self, tile: Tile, slots: asyncio.Semaphore) -> list[Row]:
        rows = self._cache.get(tile)
        if rows is None:
            async with slots:
                content = await self._evidence.read(tile.path)
            rows = _rows_above(parse(tile, content))
            self._cache[tile] = rows
            if len(self._cache) > _CACHED_TILES:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(tile)
        return rows


def _rows_above(row: Row) -> list[Row]:
    """The tile's hashes and its inner nodes, by height; only of perfect subtrees."""
    rows = [row]
    while len(row) > 1 and len(rows) < HEIGHT:
        row = [node_hash(row[n], row[n + 1]) for n in range(0, len(row) - 1, 2)]
        rows.append(row)
    return rows
