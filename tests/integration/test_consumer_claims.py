"""Claims in DynamoDB: of many processes one works on an event."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from servicekit.bus_event import delivery_of
from servicekit.consumer import EventConsumer
from servicekit.consumer_claims import MAX_HISTORY, DynamoClaims
from servicekit.consumer_queue import MAX_HIDDEN_SECONDS, SqsVisibility
from servicekit.consumption import INTERRUPTED, Attempt, Claim, Done, Free, Held
from servicekit.dynamodb import DynamoTable, Expression, Put, TransactionRefusedError
from servicekit.errors import StoreUnavailableError
from tests.fakes.consuming import (
    CONSUMER,
    LEASE,
    QUEUE,
    MemoryReporter,
    MemoryVisibility,
    again,
    dead,
    message,
)

pytestmark = pytest.mark.anyio

KEPT = timedelta(days=30)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def claims(table, clock):
    return DynamoClaims(table, lease=LEASE, kept=KEPT, clock=clock)


async def take(claims, message_id="m-1") -> Claim:
    claimed = await claims.take(CONSUMER, "e-1", message_id)
    assert isinstance(claimed, Claim)
    return claimed


def attempt(claim: Claim, error=None) -> Attempt:
    return Attempt(
        attempt=claim.attempt,
        outcome="failed" if error else "done",
        error=error,
        started_at=claim.started_at,
        duration_ms=5,
    )


async def test_a_done_event_is_done_for_good(claims, clock):
    claim = await take(claims)
    assert await claims.finish(claim, attempt(claim), done=True)
    clock.now += timedelta(days=20)
    found = await claims.take(CONSUMER, "e-1", "m-2")
    assert found == Done(message_id="m-1", history=(attempt(claim),))
    assert await claims.look(CONSUMER, "e-1") == found


async def test_a_released_event_is_taken_again_with_its_history(claims):
    for number in range(1, 4):
        claim = await take(claims, f"m-{number}")
        assert claim.attempt == number
        assert [made.error for made in claim.history] == ["timeout"] * (number - 1)
        assert await claims.finish(claim, attempt(claim, "timeout"), done=False)
    state = await claims.look(CONSUMER, "e-1")
    assert isinstance(state, Free)
    assert [made.attempt for made in state.history] == [1, 2, 3]


async def test_history_is_bounded_and_the_number_of_attempts_is_not(claims):
    for _ in range(MAX_HISTORY + 5):
        claim = await take(claims)
        await claims.finish(claim, attempt(claim, "timeout"), done=False)
    claim = await take(claims)
    assert claim.attempt == MAX_HISTORY + 6
    assert len(claim.history) == MAX_HISTORY


async def test_a_held_event_is_held_until_its_lease_is_over(claims, clock):
    claim = await take(claims)
    held = Held(until=clock.now + LEASE)
    assert await claims.take(CONSUMER, "e-1", "m-2") == held
    assert await claims.look(CONSUMER, "e-1") == held
    clock.now += LEASE + timedelta(seconds=1)
    taken = await take(claims, "m-2")
    assert taken.attempt == 2
    assert [made.error for made in taken.history] == [INTERRUPTED]
    # Whoever lost it cannot end it any more.
    assert not await claims.finish(claim, attempt(claim), done=True)
    assert await claims.finish(taken, attempt(taken), done=True)


async def test_ending_it_twice_is_ending_it_once(claims):
    claim = await take(claims)
    assert await claims.finish(claim, attempt(claim), done=True)
    assert await claims.finish(claim, attempt(claim), done=True)


async def test_many_at_once_get_one_claim(claims):
    found = await asyncio.gather(
        *(claims.take(CONSUMER, "e-1", f"m-{number}") for number in range(16))
    )
    assert sum(isinstance(one, Claim) for one in found) == 1
    assert sum(isinstance(one, Held) for one in found) == 15


async def test_many_at_once_take_one_dead_claim_over_once(claims, clock):
    await take(claims)
    clock.now += LEASE + timedelta(seconds=1)
    found = await asyncio.gather(
        *(claims.take(CONSUMER, "e-1", f"m-{number}") for number in range(16))
    )
    (claim,) = [one for one in found if isinstance(one, Claim)]
    assert claim.attempt == 2


async def test_consumers_do_not_share_claims(claims):
    await take(claims)
    other = await claims.take("ai-others", "e-1", "m-1")
    assert isinstance(other, Claim)


async def test_a_handlers_transaction_ends_the_claim_with_its_effect(claims, table):
    claim = await take(claims)
    effect = Put({"pk": "EFFECT", "sk": "e-1"}, Expression("attribute_not_exists(pk)"))
    await table.transact([effect, claims.completion(claim, attempt(claim))])
    assert await claims.finish(claim, attempt(claim), done=True)
    assert isinstance(await claims.take(CONSUMER, "e-1", "m-2"), Done)
    stolen = replace(claim, token="another")
    with pytest.raises(TransactionRefusedError):
        await table.transact([claims.completion(stolen, attempt(claim))])


@pytest.mark.parametrize("dies", ["before", "after"])
async def test_killed_around_its_own_transaction_an_event_has_one_effect(
    claims, table, clock, dies
):
    """The handler that writes the completion with its effect has no gap to die in."""

    class Died(BaseException):
        pass

    async def handle(handling):
        if dies == "before":
            raise Died
        claim = handling.claim
        effect = Put({"pk": "EFFECT", "sk": "e-1"}, Expression("attribute_not_exists(pk)"))
        await table.transact([effect, claims.completion(claim, attempt(claim))])
        if dies == "after":
            raise Died

    reporter = MemoryReporter()
    consumer = EventConsumer(
        {QUEUE: CONSUMER},
        claims=claims,
        visibility=MemoryVisibility(),
        reporter=reporter,
        handle=handle,
        clock=clock,
    )
    record = message()
    with pytest.raises(Died):
        await consumer.consume({"Records": [record]})
    clock.now += LEASE + timedelta(seconds=30)
    dies = "never"
    assert await consumer.consume({"Records": [again(record)]}) == {"batchItemFailures": []}
    assert await table.get({"pk": "EFFECT", "sk": "e-1"})
    assert reporter.told[-1][2] == "done"


async def test_an_event_of_many_messages_has_one_effect_with_the_real_claims(claims, clock):
    effects = []

    async def handle(handling):
        await asyncio.sleep(0)
        effects.append(handling.event.event_id)

    consumer = EventConsumer(
        {QUEUE: CONSUMER},
        claims=claims,
        visibility=MemoryVisibility(),
        reporter=MemoryReporter(),
        handle=handle,
        clock=clock,
    )
    records = [message() for _ in range(10)]
    answers = await asyncio.gather(
        *(consumer.consume({"Records": records[n : n + 2]}) for n in range(0, 10, 2))
    )
    left = [item for answer in answers for item in answer["batchItemFailures"]]
    waiting = [r for r in records if {"itemIdentifier": r["messageId"]} in left]
    assert await consumer.consume({"Records": [again(r) for r in waiting]}) == {
        "batchItemFailures": []
    }
    assert effects == ["e-1"]


async def test_a_throttled_table_is_said_to_be_unavailable(make_client, clock):
    table = DynamoTable("no-such-table", make_client)
    claims = DynamoClaims(table, lease=LEASE, kept=KEPT, clock=clock)
    for call in (claims.take(CONSUMER, "e-1", "m-1"), claims.look(CONSUMER, "e-1")):
        with pytest.raises(StoreUnavailableError):
            await call
    table.close()


async def test_messages_are_hidden_in_their_own_queue():
    calls = []

    class Client:
        def change_message_visibility(self, **arguments):
            calls.append(arguments)

        def close(self):
            pass

    visibility = SqsVisibility("https://sqs.eu-west-1.amazonaws.com/1/any-queue", Client)
    await visibility.hide(delivery_of(message()), 7)
    await visibility.hide(delivery_of(dead(message())), 10**6)
    assert [call["QueueUrl"] for call in calls] == [
        f"https://sqs.eu-west-1.amazonaws.com/1/{QUEUE}",
        f"https://sqs.eu-west-1.amazonaws.com/1/{QUEUE}-dlq",
    ]
    assert [call["VisibilityTimeout"] for call in calls] == [7, MAX_HIDDEN_SECONDS]
    visibility.close()
