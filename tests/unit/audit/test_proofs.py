"""Proofs as callers get them."""

import random
from datetime import timedelta

import pytest

from contracts.audit import audit_verify as verifier
from functions.audit.domain.errors import (
    CheckpointNotFoundError,
    EventNotFoundError,
    LogInconsistentError,
    NotSealedError,
)
from servicekit.clock import to_text
from servicekit.errors import InvalidRequestError
from tests.fakes.audit_log import MemoryLog

pytestmark = pytest.mark.anyio


async def sealed_at(*sizes):
    log = MemoryLog()
    for size in sizes:
        log.accept_many(size - log.state.head.size, prefix=f"b{size}-")
        await log.seal()
    return log


async def test_every_record_of_every_kind_of_tree_is_proven():
    for sizes in ([1], [2, 3], [255, 256], [257], [100, 700]):
        log = await sealed_at(*sizes)
        proofs = log.proofs()
        key = await proofs.key()
        for event_id in random.Random(1).sample(sorted(log.records), min(sizes[-1], 25)):
            proof = await proofs.inclusion(event_id)
            head = verifier.open_checkpoint(proof.checkpoint, key)
            assert (head.size, proof.tree_size) == (sizes[-1], sizes[-1])
            assert proof.leaf_hash == verifier.leaf_hash(proof.record)
            assert head.root == verifier.root_of_inclusion(
                proof.leaf_hash, proof.leaf_index, head.size, proof.path
            )
    assert not log.metrics.values


async def test_a_pending_record_says_when_to_ask_again_and_an_unknown_one_is_unknown():
    log = await sealed_at(3)
    log.accept("fresh")
    with pytest.raises(NotSealedError) as caught:
        await log.proofs().inclusion("fresh")
    assert caught.value.headers["Retry-After"] == "60"
    with pytest.raises(EventNotFoundError):
        await log.proofs().inclusion("nobody")
    assert not log.metrics.values


async def test_a_record_that_is_gone_is_told_apart_from_one_that_never_was():
    log = await sealed_at(3)
    del log.records["b3-000001"]
    with pytest.raises(EventNotFoundError, match="leaf 1"):
        await log.proofs().inclusion("b3-000001")


async def test_the_latest_checkpoint():
    log = MemoryLog()
    with pytest.raises(CheckpointNotFoundError):
        await log.proofs().latest()
    log.accept("a")
    await log.seal()
    newest = await log.proofs().latest()
    assert (newest.size, newest.sealed_at) == (1, log.now)
    assert newest.text.encode() == log.objects["checkpoint/1"]


async def test_consistency_between_all_checkpoints():
    log = await sealed_at(1, 2, 7, 8, 255, 256, 300, 520)
    proofs = log.proofs()
    key = await proofs.key()
    sizes = [1, 2, 7, 8, 255, 256, 300, 520]
    for place, second in enumerate(sizes):
        for first in sizes[: place + 1]:
            proof = await proofs.consistency(first, second)
            old = verifier.open_checkpoint(proof.first_checkpoint, key)
            new = verifier.open_checkpoint(proof.second_checkpoint, key)
            assert (old.size, new.size) == (first, second)
            verifier.check_consistency(first, second, old.root, new.root, proof.path)
            assert bool(proof.path) == (first != second)


async def test_consistency_with_the_empty_log_and_sizes_that_are_none():
    log = await sealed_at(3, 9)
    proofs = log.proofs()
    empty = await proofs.consistency(0, 9)
    assert (empty.first_checkpoint, empty.path) == ("", [])
    assert (await proofs.consistency(0, 0)).second_checkpoint == ""
    for first, second in ((4, 9), (3, 8), (0, 5), (3, 10)):
        with pytest.raises(CheckpointNotFoundError):
            await proofs.consistency(first, second)
    for first, second in ((9, 3), (-1, 3)):
        with pytest.raises(InvalidRequestError) as caught:
            await proofs.consistency(first, second)
        assert caught.value.errors[0]["field"] == "from"
    assert not log.metrics.values


async def test_many_records_at_once_for_one_checkpoint():
    log = await sealed_at(300)
    newest = await log.proofs().latest()
    log.accept("later")
    await log.seal()
    log.accept("pending")
    placed = await log.proofs().place(log.records, newest)
    assert set(placed) == {name for name in log.records if name.startswith("b300-")}
    for event_id, place in placed.items():
        leaf = verifier.leaf_hash(log.records[event_id])
        root = verifier.root_of_inclusion(leaf, place.leaf_index, 300, place.path)
        assert root == newest.root


async def test_one_wrong_record_among_many_is_refused():
    log = await sealed_at(300)
    newest = await log.proofs().latest()
    log.records["b300-000123"] += b" "
    with pytest.raises(LogInconsistentError):
        await log.proofs().place(log.records, newest)
    assert log.metrics.values == [{"ProofsRefused": 1}]


async def test_an_unsettled_head_proves_what_it_has():
    log = await sealed_at(3)
    log.accept("new")
    log.state.leaves.clear()
    await log.seal()
    assert (await log.proofs().inclusion("new")).tree_size == 4


async def test_what_was_read_wrong_once_is_read_again():
    log = await sealed_at(300)
    right = log.objects["tile/0/000"]
    log.objects["tile/0/000"] = right[::-1]
    proofs = log.proofs()
    with pytest.raises(LogInconsistentError):
        await proofs.inclusion("b300-000001")
    log.objects["tile/0/000"] = right
    assert (await proofs.inclusion("b300-000001")).leaf_index == 1


async def test_an_id_that_is_used_again_after_its_record_has_left_the_table():
    log = MemoryLog()
    old = log.accept("again")
    await log.seal()
    accepted_at = to_text(log.now + timedelta(milliseconds=1))
    new = log.accept("again", f'{{"timestamp":"{accepted_at}"}}'.encode())
    with pytest.raises(NotSealedError):
        await log.proofs().inclusion("again")
    await log.seal()
    proofs = log.proofs()
    assert (await proofs.inclusion("again")).leaf_index == 1
    newest = await proofs.latest()
    for record, index in ((old, 0), (new, 1)):
        placed = await proofs.place({"again": record}, newest)
        assert placed["again"].leaf_index == index
    assert log.metrics.values == []
