"""The states of an idempotency key."""

import asyncio

import pytest

from servicekit.idempotency import (
    LEASE_SECONDS,
    RETRY_AFTER_SECONDS,
    Claim,
    ClaimUpdate,
    Idempotency,
    IdempotencyConflictError,
    IdempotencyInProgressError,
    InvalidIdempotencyKeyError,
    Request,
    check_key,
    fingerprint,
    scope_key,
)
from tests.fakes.ai_app import Clock
from tests.fakes.memory import MemoryRecords

pytestmark = pytest.mark.anyio

WINDOW = 3600
REQUEST = Request("key", "print")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def records():
    return MemoryRecords()


@pytest.fixture
def idempotency(records, clock):
    return Idempotency(records, clock, WINDOW)


def complete(records, claim):
    records.settle(ClaimUpdate(claim, {"answer": 1}, completed=True))


async def test_a_completed_key_gives_its_reference_for_the_window(idempotency, records, clock):
    complete(records, await idempotency.begin(REQUEST))
    assert await idempotency.begin(REQUEST) == {"answer": 1}
    clock.pass_seconds(WINDOW - 2)
    assert await idempotency.begin(REQUEST) == {"answer": 1}
    clock.pass_seconds(3)
    assert isinstance(await idempotency.begin(REQUEST), Claim)


async def test_another_request_is_a_conflict_whatever_the_state(idempotency, records):
    claim = await idempotency.begin(REQUEST)
    for _ in range(2):
        with pytest.raises(IdempotencyConflictError):
            await idempotency.begin(Request("key", "other"))
        if not records.records["key"].completed:
            complete(records, claim)


async def test_a_running_key_says_when_to_come_back(idempotency):
    await idempotency.begin(REQUEST)
    with pytest.raises(IdempotencyInProgressError) as refused:
        await idempotency.begin(REQUEST)
    assert refused.value.headers["Retry-After"] == str(RETRY_AFTER_SECONDS)
    assert RETRY_AFTER_SECONDS < 5


async def test_an_expired_lease_is_retaken_once_and_with_its_progress(idempotency, records, clock):
    first = await idempotency.begin(REQUEST)
    records.settle(ClaimUpdate(first, {"question": 1}, completed=False))
    clock.pass_seconds(LEASE_SECONDS + 1)
    results = await asyncio.gather(
        *(idempotency.begin(REQUEST) for _ in range(5)), return_exceptions=True
    )
    (claim,) = [result for result in results if isinstance(result, Claim)]
    assert claim.record.reference == {"question": 1}
    assert claim.record.token != first.record.token
    assert sum(isinstance(r, IdempotencyInProgressError) for r in results) == 4
    assert not await records.extend("key", first.record.token, 0)


async def test_failed_work_lets_the_next_request_try(idempotency):
    async def fail(_claim):
        raise ValueError

    async def work(claim):
        return claim

    async def replay(_reference):
        pytest.fail("nothing was completed")

    with pytest.raises(ValueError):
        await idempotency.once(REQUEST, fail, replay)
    assert isinstance(await idempotency.once(REQUEST, work, replay), Claim)


@pytest.mark.parametrize("ending", ["released", "lapsed"])
async def test_work_that_stored_nothing_binds_nobody(idempotency, records, clock, ending):
    claim = await idempotency.begin(REQUEST)
    if ending == "released":
        await idempotency.release(claim)
    else:
        clock.pass_seconds(LEASE_SECONDS + 1)
    corrected = await idempotency.begin(Request("key", "corrected"))
    assert isinstance(corrected, Claim)
    assert not await records.extend("key", claim.record.token, 0)
    # From now on the key is the corrected request's.
    with pytest.raises(IdempotencyConflictError):
        await idempotency.begin(REQUEST)
    complete(records, corrected)
    assert await idempotency.begin(Request("key", "corrected")) == {"answer": 1}
    with pytest.raises(IdempotencyConflictError):
        await idempotency.begin(REQUEST)


async def test_work_that_stored_something_binds_even_when_it_is_let_go(idempotency, records):
    claim = await idempotency.begin(REQUEST)
    records.settle(ClaimUpdate(claim, {"question": 1}, completed=False))
    await idempotency.release(claim)
    with pytest.raises(IdempotencyConflictError):
        await idempotency.begin(Request("key", "other"))
    assert isinstance(await idempotency.begin(REQUEST), Claim)


async def test_without_a_key_there_is_no_record(idempotency, records):
    async def work(claim):
        return claim

    assert await idempotency.once(None, work, work) is None
    assert records.records == {}


async def test_a_store_that_fails_disturbs_no_release(idempotency, records, monkeypatch):
    claim = await idempotency.begin(REQUEST)
    tried = []

    async def broken(*_arguments):
        tried.append(1)
        raise RuntimeError

    monkeypatch.setattr(records, "extend", broken)
    await idempotency.release(claim)
    assert tried == [1]


@pytest.mark.parametrize("header", ["", " ", "a b", "\t", "é", "x" * 256, "a\x7f"])
def test_bad_headers(header):
    with pytest.raises(InvalidIdempotencyKeyError):
        check_key(header)


def test_equal_requests_have_equal_fingerprints():
    assert fingerprint({"a": 1, "b": ["ü", None]}) == fingerprint({"b": ["ü", None], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})


def test_scopes_do_not_run_into_each_other():
    assert scope_key("k", "ab", "c") != scope_key("k", "a", "bc")
    assert scope_key("k", 1) != scope_key("k", "1")
