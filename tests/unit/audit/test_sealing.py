"""Sealing under concurrency, crashes and forgery: one log, each record in it once."""

import asyncio
import json
import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from contracts.audit.audit_verify import open_checkpoint
from functions.audit.domain import batches, checkpoint, merkle, notes
from functions.audit.domain.errors import ForkError, SealingError
from functions.audit.domain.models import Leaf, Marker, Position
from functions.audit.domain.sealing import Sealer
from tests.fakes.audit_log import (
    EMPTY_HEAD,
    LOG_NAME,
    TERMS,
    Interruptions,
    KilledError,
    LedgerState,
    MemoryEvidence,
    MemoryLedger,
    MemoryLog,
    MemorySigner,
)

pytestmark = pytest.mark.anyio

SEALERS = 16


async def check_log(log: MemoryLog) -> None:
    """The whole log anew from its batches: contiguous, each record once, every checkpoint holds."""
    key = await notes.key_of(MemorySigner(), LOG_NAME)
    hashes, ids, sizes, size = [], [], [], 0
    while (content := log.objects.get(batches.name_of(size))) is not None:
        batch = batches.decode(size, content)
        hashes += [leaf.leaf_hash for leaf in batch.leaves]
        ids += [leaf.event_id for leaf in batch.leaves]
        size = batch.end
        sizes.append(size)
        stated = open_checkpoint(log.objects[checkpoint.name_of(size)].decode(), key)
        assert stated.root == merkle.join(merkle.extend(0, [], hashes))
    assert Counter(ids) == Counter(log.records.keys())
    assert hashes == [merkle.leaf_hash(log.records[event_id]) for event_id in ids]
    assert {key: leaf.index for key, leaf in log.state.leaves.items()} == {
        (event_id, hashes[index]): index for index, event_id in enumerate(ids)
    }
    assert not log.state.markers
    assert log.state.head.settled
    assert log.state.head.size == size
    assert {name for name in log.objects if name.startswith("checkpoint/")} == {
        checkpoint.name_of(size) for size in sizes
    }
    assert {name for name in log.objects if name.startswith("batch/")} == {
        batches.name_of(start) for start in [0, *sizes[:-1]] if size
    }
    proofs = log.proofs()
    for first in sizes:
        await proofs.consistency(first, size)


async def test_records_become_leaves_in_the_order_of_acceptance():
    log = MemoryLog()
    log.accept_many(700)
    result = await log.sealer().run(log.now)
    assert (result.sealed, result.complete, result.forks) == (700, True, 0)
    assert result.checkpoint.size == 700
    assert result.checkpoint.text.encode() == log.objects["checkpoint/700"]
    assert result.checkpoint.sealed_at == log.now
    assert [(await log.place(f"e{n:06}")).index for n in (0, 1, 699)] == [0, 1, 699]
    assert dict(result.metrics()) == {
        "SealedRecords": 700,
        "LogForks": 0,
        "OldestPendingSeconds": 0.0,
    }
    await check_log(log)


async def test_nothing_to_seal_writes_nothing():
    log = MemoryLog()
    result = await log.sealer().run(log.now)
    assert (result.sealed, result.checkpoint, result.complete) == (0, None, True)
    log.accept("a")
    await log.seal()
    before = dict(log.objects)
    result = await log.sealer().run(log.now)
    assert (result.sealed, result.checkpoint.size) == (0, 1)
    assert log.objects == before


async def test_what_is_younger_than_asked_for_stays():
    log = MemoryLog()
    log.accept("old")
    up_to = log.now
    log.now += timedelta(seconds=5)
    log.accept("young")
    log.now += timedelta(seconds=3)
    result = await log.sealer().run(up_to)
    assert (result.sealed, result.complete, result.oldest_pending_seconds) == (1, True, 3.0)
    assert {event_id for event_id, _ in log.state.leaves} == {"old"}
    # Late, but accepted before what is sealed already: it is not skipped.
    late = Marker("late", up_to - timedelta(seconds=60), merkle.leaf_hash(b"late"), TERMS)
    log.records["late"] = b"late"
    log.state.put(late)
    await log.seal()
    assert (await log.place("late")).index == 1
    await check_log(log)


async def test_many_records_are_sealed_in_several_batches():
    log = MemoryLog()
    log.accept_many(95)
    result = await log.sealer(batch_size=10).run(log.now)
    assert (result.sealed, result.checkpoint.size) == (95, 95)
    assert sum(name.startswith("batch/") for name in log.objects) == 10
    await check_log(log)


async def test_after_the_deadline_no_batch_is_begun():
    log = MemoryLog()
    log.accept_many(30)
    result = await log.sealer(batch_size=10).run(log.now, deadline=log.now)
    assert (result.sealed, result.complete) == (0, False)

    class Late(MemoryLedger):
        async def advance(self, expected, new):
            log.now += timedelta(seconds=1)
            return await super().advance(expected, new)

    evidence = MemoryEvidence(log.objects)
    sealer = Sealer(Late(log.state), evidence, MemorySigner(), LOG_NAME, log.clock, 10)
    result = await sealer.run(log.now, deadline=log.now + timedelta(seconds=2))
    assert (result.sealed, result.complete, result.checkpoint.size) == (10, False, 10)
    await log.seal()
    await check_log(log)


@pytest.mark.parametrize("seed", range(4))
async def test_sixteen_sealers_at_once_make_one_log(seed):
    chance = random.Random(seed)
    log = MemoryLog()
    log.accept_many(chance.randrange(50, 150))
    sealed = []

    async def seal():
        sealer = log.sealer(Interruptions(chance), batch_size=chance.choice([20, 40, 300]))
        for _ in range(2):
            result = await sealer.run(log.now)
            assert result.forks == 0
            sealed.append(result.sealed)
            log.accept_many(chance.randrange(10), prefix=f"x{len(sealed)}-")

    await asyncio.gather(*(seal() for _ in range(SEALERS)))
    sealed.append((await log.sealer().run(log.now)).sealed)
    assert sum(sealed) == len(log.records)
    await check_log(log)


async def count_calls(build):
    interruptions = Interruptions()
    await build().sealer(interruptions, batch_size=30).run(build().now)
    return len(interruptions.calls)


def half_full() -> MemoryLog:
    log = MemoryLog()
    log.accept_many(45)
    return log


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
async def test_killed_at_any_call_the_next_run_completes(after):
    calls = await count_calls(half_full)
    assert calls > 30
    for kill_at in range(1, calls + 1):
        log = half_full()
        with pytest.raises(KilledError):
            await log.sealer(Interruptions(kill_at=kill_at, after=after), 30).run(log.now)
        checkpoints = {n: c for n, c in log.objects.items() if n.startswith("checkpoint/")}
        log.accept_many(5, prefix="later")
        result = await log.sealer(batch_size=30).run(log.now)
        assert (result.complete, result.forks) == (True, 0)
        assert checkpoints.items() <= log.objects.items()
        await check_log(log)


@pytest.mark.parametrize("seed", range(3))
async def test_killed_again_and_again_among_rivals(seed):
    chance = random.Random(seed)
    log = half_full()

    async def seal():
        for _ in range(6):
            interruptions = Interruptions(
                chance, kill_at=chance.randrange(1, 60), after=chance.random() < 0.5
            )
            try:
                await log.sealer(interruptions, chance.choice([7, 20])).run(log.now)
            except KilledError:
                log.accept_many(3, prefix=f"k{len(log.records)}-")

    await asyncio.gather(*(seal() for _ in range(6)))
    await log.seal()
    await check_log(log)


async def test_a_sealer_that_slept_since_it_read_the_pending_adds_nothing_twice():
    log = MemoryLog()
    log.accept_many(10)
    asleep, awake = asyncio.Event(), asyncio.Event()

    class Sleepy(MemoryLedger):
        async def pending(self, up_to, limit):
            found = await super().pending(up_to, limit)
            asleep.set()
            await awake.wait()
            return found

    evidence = MemoryEvidence(log.objects)
    sleeper = Sealer(Sleepy(log.state), evidence, MemorySigner(), LOG_NAME, log.clock)
    sleeping = asyncio.create_task(sleeper.run(log.now))
    await asleep.wait()
    await log.seal()
    log.accept("next")
    await log.seal()
    awake.set()
    result = await sleeping
    assert (result.sealed, result.complete) == (0, True)
    await check_log(log)


async def test_a_marker_that_comes_back_is_removed_and_not_sealed():
    log = MemoryLog()
    log.accept_many(5)
    markers = dict(log.state.markers)
    await log.seal()
    log.state.markers.update(markers)
    log.accept("new")
    result = await log.sealer().run(log.now)
    assert result.sealed == 1
    log.state.markers.update(markers)
    assert (await log.sealer().run(log.now)).sealed == 0
    await check_log(log)


@pytest.mark.parametrize("index", [-1, 2, 5, 500])
async def test_a_place_that_someone_made_up_keeps_no_record_out_of_the_log(index):
    log = MemoryLog()
    log.accept_many(5)
    await log.seal()
    record = log.accept("victim")
    hashed = merkle.leaf_hash(record)
    log.state.leaves["victim", hashed] = Leaf(index, "victim", hashed, log.now)
    assert await log.seal() == 6
    await check_log(log)


async def test_a_tile_that_is_gone_where_a_place_points_is_a_fork():
    log = MemoryLog()
    log.accept_many(300)
    markers = dict(log.state.markers)
    await log.seal()
    log.state.markers.update(markers)
    del log.objects["tile/0/000"]
    assert (await log.sealer().run(log.now)).forks == 1


async def test_two_markers_of_one_record_are_one_leaf():
    log = MemoryLog()
    log.accept_many(3)
    for marker in list(log.state.markers.values()):
        log.state.put(replace(marker, accepted_at=marker.accepted_at + timedelta(microseconds=1)))
    log.now += timedelta(seconds=1)
    assert await log.seal() == 3
    await check_log(log)


async def test_another_record_under_a_taken_id_is_sealed_too():
    log = MemoryLog()
    log.accept("a", b"first")
    log.accept("a", b"second")
    assert await log.seal() == 2
    log.accept("a", b"third")
    assert await log.seal() == 3
    hashes = [merkle.leaf_hash(record) for record in (b"first", b"second", b"third")]
    assert log.state.head.root == merkle.join(merkle.extend(0, [], hashes))


async def test_a_ledger_that_was_lost_is_made_anew_from_the_evidence():
    log = MemoryLog()
    for number in range(4):
        log.accept_many(30, prefix=f"n{number}-")
        await log.seal()
    head, leaves, objects = log.state.head, dict(log.state.leaves), dict(log.objects)
    log.state = LedgerState()
    result = await log.sealer().run(log.now)
    assert (result.complete, result.checkpoint.size) == (True, 120)
    assert (log.state.head, log.state.leaves, log.objects) == (head, leaves, objects)
    await check_log(log)


async def test_a_ledger_restored_to_an_earlier_time_seals_nothing_twice():
    log = MemoryLog()
    log.accept_many(30)
    await log.seal()
    log.accept_many(30, prefix="f")
    then = log.copy().state
    await log.seal()
    log.state = then
    log.accept("new")
    await log.seal()
    await check_log(log)


async def test_a_checkpoint_with_another_valid_signature_line_is_accepted():
    log = half_full()
    log.objects["checkpoint/45"] = b""
    await log.sealer().run(log.now)
    del log.objects["checkpoint/45"]
    await log.seal()
    text = log.objects["checkpoint/45"].decode()
    log = half_full()
    witness = "\u2014 witness.example/w AAAAAAAAAAA=\n"
    log.objects["checkpoint/45"] = f"{text}{witness}".encode()
    assert await log.seal() == 45
    await check_log(log)


@pytest.mark.parametrize(
    "name",
    ["batch/45", "tile/0/000.p/45", "checkpoint/45", "checkpoint/60", "tile/0/000.p/60"],
)
async def test_an_object_with_other_content_is_a_fork_and_stays(name, caplog):
    sealed = half_full()
    await sealed.seal()
    log = sealed.copy()
    log.accept_many(15, prefix="later")
    log.objects[name] = b"forged"
    before = dict(log.objects)
    result = await log.sealer().run(log.now)
    assert (result.forks, result.complete, result.checkpoint) == (1, False, None)
    assert result.metrics()["LogForks"] == 1
    assert before.items() <= log.objects.items()
    assert "the log is forked" in caplog.text


async def test_a_checkpoint_of_ours_over_another_root_is_a_fork():
    log = half_full()
    signed = await checkpoint.sign(MemorySigner(), LOG_NAME, 45, merkle.EMPTY_ROOT)
    log.objects["checkpoint/45"] = signed.encode()
    assert (await log.sealer().run(log.now)).forks == 1


@pytest.mark.parametrize("gone", ["tile/0/000.p/45", "checkpoint/45"])
async def test_an_object_that_is_gone_is_a_fork(gone):
    log = half_full()
    await log.seal()
    del log.objects[gone]
    if gone.startswith("tile"):
        log.accept("more")
    assert (await log.sealer().run(log.now)).forks == 1


@pytest.mark.parametrize("gone", [True, False])
async def test_an_unsettled_head_without_its_batch_is_a_fork(gone):
    log = half_full()
    await log.seal()
    log.state.head = replace(log.state.head, settled=False)
    if gone:
        del log.objects["batch/0"]
    else:
        log.state.head = replace(log.state.head, size=44)
    assert (await log.sealer().run(log.now)).forks == 1


async def test_an_object_between_being_and_not_being_is_tried_again():
    log = half_full()

    class Flickering(MemoryEvidence):
        async def create(self, name, content):
            return False if name.startswith("tile") else await super().create(name, content)

    sealer = Sealer(
        MemoryLedger(log.state), Flickering(log.objects), MemorySigner(), LOG_NAME, log.clock
    )
    with pytest.raises(SealingError):
        await sealer.run(log.now)
    await log.seal()
    await check_log(log)


async def test_writes_at_once_are_bounded():
    log = MemoryLog()
    log.accept_many(6_000)
    running = most = 0

    class Counting(MemoryEvidence):
        async def create(self, name, content):
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return await super().create(name, content)

    sealer = Sealer(
        MemoryLedger(log.state), Counting(log.objects), MemorySigner(), LOG_NAME, log.clock
    )
    await sealer.run(log.now)
    assert most == 16
    await check_log(log)


def test_a_batch_comes_back_as_it_was():
    log = half_full()
    markers = sorted(log.state.markers.values(), key=lambda marker: marker.accepted_at)
    batch = batches.batch_of(7, log.now, markers)
    assert batch.end == 52
    assert batch.positions[0] == Position(markers[0].accepted_at, "e000000")
    assert batches.decode(7, batches.encode(batch)) == batch


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"sealed_at":"x","leaves":[]}',
        *(
            json.dumps({"sealed_at": "2026-11-25T12:00:00.000000Z", "leaves": leaves}).encode()
            for leaves in (
                [],
                ["abc"],
                [["a", "00", "2026-11-25T12:00:00.000000Z"]],
                [["a", "00" * 32, "yesterday"]],
                [["a", "00" * 32, "2026-11-25T12:00:00.000000Z"]] * 2,
                [[["a"], "00" * 32, "2026-11-25T12:00:00.000000Z"]],
            )
        ),
    ],
)
def test_what_is_no_batch_is_a_fork(content):
    with pytest.raises(ForkError):
        batches.decode(0, content)


def test_the_fakes_empty_head_is_that_of_an_empty_log():
    assert merkle.join(EMPTY_HEAD.frontier) == EMPTY_HEAD.root
