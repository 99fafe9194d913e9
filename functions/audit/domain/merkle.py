"""RFC 6962 Merkle trees (section 2.1; RFC 9162, section 2.1, keeps them): growth, roots, proofs.

A node (level, index) is the perfect subtree over the leaves from index * 2^level up to, and not
with, (index + 1) * 2^level; on level 0 stand the leaf hashes. Proofs are made of ranges of leaves,
ranges of nodes: what to read is known before anything is read. The checks are the verifier's own,
so that what passes here passes there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from contracts.audit.audit_verify import (
    EMPTY_ROOT,
    check_consistency,
    leaf_hash,
    node_hash,
    root_of_inclusion,
)

__all__ = [
    "EMPTY_ROOT",
    "Node",
    "NodeReader",
    "Range",
    "check_consistency",
    "consistency_path",
    "consistency_ranges",
    "extend",
    "inclusion_path",
    "inclusion_ranges",
    "join",
    "leaf_hash",
    "node_hash",
    "perfect_root",
    "range_root",
    "root_of_inclusion",
    "subtrees",
]

Node = tuple[int, int]
"""Level and index of a perfect subtree."""

Range = tuple[int, int]
"""Leaves from the first number on, before the second."""

NodeReader = Callable[[int, int], bytes]
"""The hash of a node by level and index."""


def extend(size: int, frontier: Sequence[bytes], leaf_hashes: Iterable[bytes]) -> list[bytes]:
    """The frontier after `leaf_hashes` were appended to a log of `size` with `frontier`.

    A frontier holds the hashes of `subtrees(0, size)`, largest first. Raises `ValueError` when
    it is not one of that size.
    """
    if len(frontier) != size.bit_count():
        raise ValueError(f"{len(frontier)} hashes are no frontier of {size} leaves")
    grown = list(frontier)
    for index, leaf in enumerate(leaf_hashes, size):
        top, left = leaf, index
        while left & 1:
            top = node_hash(grown.pop(), top)
            left >>= 1
        grown.append(top)
    return grown


def join(hashes: Sequence[bytes]) -> bytes:
    """The root over neighbouring perfect subtrees, largest first; of a frontier: the tree's."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """The root over 2^k hashes of one level."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[n], hashes[n + 1]) for n in range(0, len(hashes), 2)]
    return hashes[0]


def subtrees(start: int, stop: int) -> list[Node]:
    """The nodes that make up a range, left to right, each as large as it can be."""
    nodes = []
    while start < stop:
        level = (stop - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def range_root(start: int, stop: int, read: NodeReader) -> bytes:
    """MTH(D[start:stop]) of a range that RFC 6962 splits a tree into."""
    return join([read(level, index) for level, index in subtrees(start, stop)])


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """PATH(index, D[size]) as ranges, leaf first. Raises `ValueError` outside of the tree."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    ranges = []
    start, stop = 0, size
    while stop - start > 1:
        middle = _split(start, stop)
        if index < middle:
            ranges.append((middle, stop))
            stop = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(first: int, second: int) -> list[Range]:
    """PROOF(first, D[second]) as ranges; none where nothing has to be shown: 0, or equal sizes.

    Raises `ValueError` unless 0 <= first <= second.
    """
    if not 0 <= first <= second:
        raise ValueError(f"a tree of {second} leaves has no beginning of {first}")
    if first in (0, second):
        return []
    ranges = []
    start, stop = 0, second
    while first != stop:
        middle = _split(start, stop)
        if first <= middle:
            ranges.append((middle, stop))
            stop = middle
        else:
            ranges.append((start, middle))
            start = middle
    # What begins at 0 is the first tree itself: the verifier has its root.
    if start:
        ranges.append((start, stop))
    return ranges[::-1]


def inclusion_path(index: int, size: int, read: NodeReader) -> list[bytes]:
    """The audit path of a leaf, leaf first (RFC 6962, section 2.1.1)."""
    return [range_root(start, stop, read) for start, stop in inclusion_ranges(index, size)]


def consistency_path(first: int, second: int, read: NodeReader) -> list[bytes]:
    """The proof that a tree begins with another one (RFC 6962, section 2.1.2)."""
    return [range_root(start, stop, read) for start, stop in consistency_ranges(first, second)]


def _split(start: int, stop: int) -> int:
    """Where RFC 6962 splits a range: after the largest power of two below its length."""
    return start + (1 << (stop - start - 1).bit_length() - 1)
