"""The audit log: CPU time of sealing and proving in memory, and of an outsider's checks."""

import asyncio
import time
from collections.abc import Callable, Iterator

from bench.figure import Figure
from contracts.audit import audit_verify as verifier
from tests.fakes.audit_log import MemoryLog

RECORDS = 100_000
_REPEATS = 200


def measure() -> Iterator[Figure]:
    """Every figure on one log; S3, KMS and DynamoDB are not in them."""
    log = MemoryLog()
    log.accept_many(RECORDS)
    sealer = log.sealer(batch_size=RECORDS)
    yield Figure(
        f"seal {RECORDS:,} records in memory",
        _seconds(lambda: asyncio.run(sealer.run(log.now))),
        "s",
        2,
    )
    cold, warm = asyncio.run(_proving(log))
    yield Figure("make a proof, no tile read before", cold * 1000, "ms", 5)
    yield Figure("make a proof", warm * 1000, "ms", 5)
    proof = asyncio.run(log.proofs().inclusion("e050000"))
    key = asyncio.run(log.proofs().key())
    taken = _each(
        lambda: verifier.root_of_inclusion(
            verifier.leaf_hash(proof.record), proof.leaf_index, proof.tree_size, proof.path
        )
    )
    yield Figure("check a Merkle path", taken * 1000, "ms", 1)
    taken = _each(lambda: verifier.open_checkpoint(proof.checkpoint, key))
    yield Figure("check a checkpoint's signature", taken * 1000, "ms", 20)


async def _proving(log: MemoryLog) -> tuple[float, float]:
    """Seconds for a proof: the first one of a process, and each of many later ones."""
    proofs = log.proofs()
    await proofs.latest()
    started = time.process_time()
    await proofs.inclusion("e050000")
    cold = time.process_time() - started
    started = time.process_time()
    for number in range(_REPEATS):
        await proofs.inclusion(f"e{number * (RECORDS // _REPEATS):06}")
    return cold, (time.process_time() - started) / _REPEATS


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _each(work: Callable[[], object]) -> float:
    return _seconds(lambda: [work() for _ in range(_REPEATS)]) / _REPEATS
