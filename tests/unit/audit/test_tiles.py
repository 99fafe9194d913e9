"""Tiles as https://c2sp.org/tlog-tiles has them."""

import random

import pytest

from functions.audit.domain import merkle, tiles
from functions.audit.domain.tiles import Tile, TileError, TileReader
from tests.fakes.audit_log import MemoryEvidence

pytestmark = pytest.mark.anyio


def leaf_hashes(count):
    return [merkle.leaf_hash(number.to_bytes(4, "big")) for number in range(count)]


def tiles_of(size):
    """Every tile that the specification wants for one size."""
    found = []
    for level in range(64):
        whole, rest = divmod(size >> 8 * level, 256)
        found += [Tile(level, index) for index in range(whole)]
        found += [Tile(level, whole, rest)] if rest else []
    return found


def hash_in(tile, place, hashes):
    """MTH over the leaves that the specification names."""
    start = (tile.index * 256 + place) << 8 * tile.level
    return merkle.join(merkle.extend(0, [], hashes[start : start + (1 << 8 * tile.level)]))


def write(sizes, hashes):
    """A log that was sealed at each of `sizes`; the objects of each sealing."""
    objects, steps, size = {}, [], 0
    for new in sizes:
        edge = [
            tiles.parse(tile, objects[tile.path]) if tile else [] for tile in tiles.edge_tiles(size)
        ]
        gained = tiles.grow(size, edge, hashes[size:new])
        assert not {tile.path for tile in gained} & set(objects)
        objects |= {tile.path: content for tile, content in gained.items()}
        steps.append(set(objects))
        size = new
    return objects, steps


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(0, 1000), "tile/0/x001/000"),
        (Tile(1, 1234067), "tile/1/x001/x234/067"),
        (Tile(0, 1234067, 1), "tile/0/x001/x234/067.p/1"),
        (Tile(2, 5, 255), "tile/2/005.p/255"),
    ],
)
def test_names(tile, path):
    assert tile.path == path


def test_the_examples_of_the_specification():
    hashes = leaf_hashes(70_000)
    gained = tiles.grow(0, [], hashes)
    widths = {}
    for tile in gained:
        widths.setdefault((tile.level, tile.width), []).append(tile.index)
    assert {key: len(found) for key, found in widths.items()} == {
        (0, 256): 273,
        (0, 112): 1,
        (1, 256): 1,
        (1, 17): 1,
        (2, 1): 1,
    }
    assert set(tiles.grow(0, [], hashes[:256])) == {Tile(0, 0), Tile(1, 0, 1)}


@pytest.mark.parametrize(
    "sizes",
    [
        [1],
        [256],
        [1, 2, 3],
        [255, 256, 257],
        [100, 600],
        [256, 512, 513],
        [700, 65_535, 65_536, 65_537],
        [1, 66_000],
    ],
)
def test_each_sealing_writes_what_its_size_needs_and_nothing_twice(sizes):
    hashes = leaf_hashes(sizes[-1])
    objects, steps = write(sizes, hashes)
    for size, there in zip(sizes, steps, strict=True):
        assert {tile.path for tile in tiles_of(size)} <= there
    for tile in tiles_of(sizes[-1]):
        row = tiles.parse(tile, objects[tile.path])
        for place in {0, tile.width // 2, tile.width - 1}:
            assert row[place] == hash_in(tile, place, hashes)


def test_the_edge_gives_the_frontier():
    hashes = leaf_hashes(1500)
    objects, _ = write(range(100, 1501, 100), hashes)
    for size in range(100, 1501, 100):
        edge = [
            tiles.parse(tile, objects[tile.path]) if tile else [] for tile in tiles.edge_tiles(size)
        ]
        assert tiles.edge_frontier(edge) == merkle.extend(0, [], hashes[:size])
    assert tiles.edge_tiles(0) == []
    assert tiles.edge_frontier([]) == []


async def test_proofs_for_a_size_need_only_what_a_log_of_that_size_wrote():
    sizes = [1, 2, 255, 256, 257, 300, 511, 513, 70_000]
    hashes = leaf_hashes(sizes[-1])
    objects, _ = write(sizes, hashes)
    chance = random.Random(1)
    for place, size in enumerate(sizes):
        only = MemoryEvidence({tile.path: objects[tile.path] for tile in tiles_of(size)})
        reader = TileReader(only)
        root = merkle.join(merkle.extend(0, [], hashes[:size]))
        for index in {0, size - 1, *(chance.randrange(size) for _ in range(20))}:
            read = await reader.load(merkle.inclusion_ranges(index, size), size)
            path = merkle.inclusion_path(index, size, read)
            assert merkle.root_of_inclusion(hashes[index], index, size, path) == root
        for first in sizes[: place + 1]:
            read = await reader.load(merkle.consistency_ranges(first, size), size)
            path = merkle.consistency_path(first, size, read)
            old = merkle.join(merkle.extend(0, [], hashes[:first]))
            merkle.check_consistency(first, size, old, root, path)


async def test_a_tile_is_read_once_until_it_is_forgotten():
    evidence = MemoryEvidence(write([600], leaf_hashes(600))[0])
    reader = TileReader(evidence)
    ranges = merkle.inclusion_ranges(3, 600)
    await reader.load(ranges, 600)
    calls = list(evidence.interruptions.calls)
    assert len(calls) == len(set(calls))
    await reader.load(ranges, 600)
    assert evidence.interruptions.calls == calls
    reader.forget()
    await reader.load(ranges, 600)
    assert evidence.interruptions.calls == calls * 2


async def test_only_so_many_tiles_are_kept(monkeypatch):
    monkeypatch.setattr(tiles, "_CACHED_TILES", 2)
    evidence = MemoryEvidence(write([2000], leaf_hashes(2000))[0])
    reader = TileReader(evidence)
    for index in (0, 300, 600, 900, 0):
        read = await reader.load([(index, index + 1)], 2000)
        assert read(0, index) == leaf_hashes(2000)[index]
    assert len(reader._cache) == 2
    assert evidence.interruptions.calls.count("read tile/0/000") == 2


async def test_a_tile_that_is_gone_or_of_another_length_is_named():
    objects, _ = write([300], leaf_hashes(300))
    for broken, message in ((None, "missing"), (b"", "0 bytes"), (bytes(8191), "8191 bytes")):
        changed = {name: content for name, content in objects.items() if name != "tile/0/000"}
        if broken is not None:
            changed["tile/0/000"] = broken
        with pytest.raises(TileError, match=f"tile/0/000.*{message}"):
            await TileReader(MemoryEvidence(changed)).load([(0, 1)], 300)
