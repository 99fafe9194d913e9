"""The Merkle tree against RFC 6962's own definitions, its test vectors, and pymerkle."""

import hashlib
import random

import pytest
from pymerkle import InmemoryTree

from contracts.audit.audit_verify import RefusedError
from functions.audit.domain import merkle

# Leaves and roots of the test data of Certificate Transparency's log implementations:
# https://github.com/google/certificate-transparency/blob/master/cpp/merkletree/merkle_tree_test.cc
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
INCLUSION = {
    (0, 1): [],
    (0, 8): [A, B, C],
    (5, 8): [D, E, ROOTS[4]],
    (2, 3): [ROOTS[2]],
    (1, 5): [ROOTS[1], B, D],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [A, B, C],
    (6, 8): [F, E, ROOTS[4]],
    (2, 5): [B, D],
}


class Tree:
    """A tree by the letter of RFC 6962: recursive, and slow."""

    def __init__(self, records):
        self.hashes = [merkle.leaf_hash(record) for record in records]

    def mth(self, start, stop):
        if stop == start:
            return hashlib.sha256().digest()
        if stop - start == 1:
            return self.hashes[start]
        k = 1
        while 2 * k < stop - start:
            k *= 2
        return merkle.node_hash(self.mth(start, start + k), self.mth(start + k, stop))

    def read(self, level, index):
        return self.mth(index << level, (index + 1) << level)


def records(count, seed=0):
    chance = random.Random(seed)
    return [chance.randbytes(chance.randrange(40)) for _ in range(count)]


def test_the_vectors():
    tree = Tree(LEAVES)
    for size, root in enumerate(ROOTS):
        assert merkle.join(merkle.extend(0, [], tree.hashes[:size])).hex() == root
    for (index, size), path in INCLUSION.items():
        assert [h.hex() for h in merkle.inclusion_path(index, size, tree.read)] == path
    for (first, second), path in CONSISTENCY.items():
        assert [h.hex() for h in merkle.consistency_path(first, second, tree.read)] == path


def test_a_leaf_is_never_an_inner_node():
    left, right = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)


def test_growth_in_steps_of_any_size_gives_the_definition():
    chance = random.Random(1)
    tree = Tree(records(300))
    for _ in range(20):
        size, frontier = 0, []
        while size < len(tree.hashes):
            step = chance.choice([0, 1, 2, 7, 64, 100])
            frontier = merkle.extend(size, frontier, tree.hashes[size : size + step])
            size = min(size + step, len(tree.hashes))
            assert merkle.join(frontier) == tree.mth(0, size)
            assert frontier == [tree.read(*node) for node in merkle.subtrees(0, size)]


def test_a_frontier_of_another_size_is_refused():
    with pytest.raises(ValueError):
        merkle.extend(3, [merkle.EMPTY_ROOT], [])


def test_every_proof_of_small_trees_holds_and_fits_no_other_leaf_or_tree():
    tree = Tree(records(26))
    roots = [tree.mth(0, size) for size in range(27)]
    for size in range(1, 27):
        for index in range(size):
            path = merkle.inclusion_path(index, size, tree.read)
            leaf = tree.hashes[index]
            assert merkle.root_of_inclusion(leaf, index, size, path) == roots[size]
            for other in range(size):
                if other != index:
                    assert _root(leaf, other, size, path) != roots[size]
        for first in range(size + 1):
            path = merkle.consistency_path(first, size, tree.read)
            merkle.check_consistency(first, size, roots[first], roots[size], path)
            for other in range(size + 1):
                if other != first:
                    with pytest.raises(RefusedError):
                        merkle.check_consistency(other, size, roots[first], roots[size], path)


def test_a_path_that_is_changed_cut_or_longer_is_refused():
    tree = Tree(records(100))
    root = tree.mth(0, 100)
    for index in (0, 37, 63, 64, 96, 99):
        path = merkle.inclusion_path(index, 100, tree.read)
        leaf = tree.hashes[index]
        for changed in mutations(path):
            assert _root(leaf, index, 100, changed) != root
    for first in (1, 31, 32, 64, 65, 99):
        path = merkle.consistency_path(first, 100, tree.read)
        for changed in mutations(path):
            with pytest.raises(RefusedError):
                merkle.check_consistency(first, 100, tree.mth(0, first), root, changed)


def mutations(path):
    for place in range(len(path)):
        yield [*path[:place], bytes([path[place][0] ^ 1]) + path[place][1:], *path[place + 1 :]]
        yield path[:place] + path[place + 1 :]
        yield [*path[:place], path[place], *path[place:]]
    for place in range(len(path) - 1):
        yield [*path[:place], path[place + 1], path[place], *path[place + 2 :]]
    yield [*path, merkle.EMPTY_ROOT]


def test_equal_and_empty_states():
    root, other = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    merkle.check_consistency(5, 5, root, root, [])
    merkle.check_consistency(0, 5, merkle.EMPTY_ROOT, root, [])
    merkle.check_consistency(0, 0, merkle.EMPTY_ROOT, merkle.EMPTY_ROOT, [])
    for first, second, old, new, path in (
        (5, 5, root, other, []),
        (5, 5, root, root, [root]),
        (0, 5, root, other, []),
        (0, 5, merkle.EMPTY_ROOT, root, [root]),
        (6, 5, root, root, []),
        (-1, 5, root, root, []),
        (2, 5, root, other, []),
        (4, 5, root, root, []),
    ):
        with pytest.raises(RefusedError):
            merkle.check_consistency(first, second, old, new, path)


def test_what_is_outside_of_the_tree_has_no_proof():
    for index, size in ((0, 0), (3, 3), (-1, 3)):
        with pytest.raises(ValueError):
            merkle.inclusion_ranges(index, size)
        with pytest.raises(RefusedError):
            merkle.root_of_inclusion(merkle.EMPTY_ROOT, index, size, [])
    for first, second in ((-1, 3), (4, 3)):
        with pytest.raises(ValueError):
            merkle.consistency_ranges(first, second)


def test_pymerkle_agrees():
    oracle = InmemoryTree(algorithm="sha256")
    tree = Tree(records(130, seed=3))
    frontier = []
    for size, record in enumerate(records(130, seed=3), 1):
        oracle.append_entry(record)
        frontier = merkle.extend(size - 1, frontier, [merkle.leaf_hash(record)])
        assert merkle.join(frontier) == oracle.get_root(size)
    chance = random.Random(4)
    for _ in range(200):
        size = chance.randrange(1, 131)
        index = chance.randrange(size)
        theirs = oracle.prove_inclusion(index + 1, size).serialize()["path"]
        ours = [h.hex() for h in merkle.inclusion_path(index, size, tree.read)]
        assert sorted(theirs) == sorted([tree.hashes[index].hex(), *ours])
        first = chance.randrange(1, size + 1)
        path = merkle.consistency_path(first, size, tree.read)
        merkle.check_consistency(first, size, oracle.get_root(first), oracle.get_root(size), path)


def _root(leaf, index, size, path):
    try:
        return merkle.root_of_inclusion(leaf, index, size, path)
    except RefusedError:
        return None
