"""What every store of turns keeps: the fake and the real one."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from functions.ai.domain.errors import (
    ClaimLostError,
    SessionNotActiveError,
    SessionNotFoundError,
    SessionOccupiedError,
    TurnLostError,
)
from functions.ai.domain.inference import Usage
from functions.ai.domain.models import Draft, Session, SessionChanges
from functions.ai.domain.turns import (
    Bill,
    Ending,
    Failure,
    Job,
    Numbered,
    RestartEvent,
    SummaryDue,
    TextEvent,
    Turn,
)
from functions.ai.domain.usage import Charge, UsageFilter
from servicekit.idempotency import Claim, ClaimUpdate, Record

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)
SESSION = Session("s1", 5, 7, 3, None, "bedrock", "m", "active", {}, NOW)


def question(turn_id="t1", **fields):
    return Draft(
        **{
            "number": 1,
            "role": "user",
            "content": "Hi",
            "created_at": NOW,
            "turn_id": turn_id,
            **fields,
        }
    )


def answer(**fields):
    return Draft(
        **{"number": 2, "role": "assistant", "content": "Hello", "created_at": LATER, **fields}
    )


def turn(turn_id="t1", **fields):
    return Turn(
        **{
            "turn_id": turn_id,
            "session_id": "s1",
            "session_number": 5,
            "project_id": 7,
            "user_id": 3,
            "provider": "bedrock",
            "model": "m",
            "question": 1,
            "status": "running",
            "created_at": NOW,
            "updated_at": NOW,
            "lease_expires_at": 100,
            **fields,
        }
    )


def texts(first, *said):
    return [Numbered(first + n, TextEvent(text)) for n, text in enumerate(said)]


async def begun(storage, **fields):
    await storage.turns.begin(SESSION, [question()], turn(**fields), None, new=True)
    return turn(**fields)


async def read(storage):
    stored = await storage.sessions.get("s1")
    return [m async for m in storage.sessions.messages(stored)]


async def test_a_turn_begins_with_its_session_and_its_question(storage):
    system = question(None, role="system", content="Be brief")
    session, messages = await storage.turns.begin(
        SESSION, [system, question()], turn(), None, new=True
    )
    assert await storage.sessions.get("s1") == session
    assert (session.turn_id, session.next_sequence) == ("t1", 3)
    assert await read(storage) == messages
    assert messages[1].draft == question()
    assert await storage.turns.get("t1") == turn(question=2)
    assert await storage.turns.get("nothing") is None


async def test_of_many_turns_at_once_one_begins(storage):
    await storage.sessions.create(SESSION, [], None)
    results = await asyncio.gather(
        *(
            storage.turns.begin(SESSION, [question(f"t{n}")], turn(f"t{n}"), None, new=False)
            for n in range(6)
        ),
        return_exceptions=True,
    )
    refused = [r for r in results if isinstance(r, SessionOccupiedError)]
    assert len(refused) == 5
    stored = await storage.sessions.get("s1")
    assert {error.turn_id for error in refused} == {stored.turn_id}
    assert [m.draft.turn_id for m in await read(storage)] == [stored.turn_id]


async def test_an_outdated_session_asks_behind_what_is_there(storage):
    outdated, _ = await storage.sessions.create(SESSION, [], None)
    await storage.sessions.append(outdated, question(None), None, only_active=True)
    _, (message,) = await storage.turns.begin(outdated, [question()], turn(), None, new=False)
    assert message.sequence == 2
    assert (await storage.turns.get("t1")).question == 2


async def test_only_an_active_session_that_is_there_takes_a_turn(storage):
    with pytest.raises(SessionNotFoundError):
        await storage.turns.begin(SESSION, [question()], turn(), None, new=False)
    await storage.sessions.create(SESSION, [], None)
    await storage.sessions.change("s1", SessionChanges({"status": "completed"}, NOW))
    with pytest.raises(SessionNotActiveError):
        await storage.turns.begin(SESSION, [question()], turn(), None, new=False)
    assert await storage.turns.get("t1") is None
    assert await read(storage) == []


@pytest.mark.parametrize("new", [True, False])
async def test_a_key_leads_to_the_turn_or_there_is_none(storage, new):
    if not new:
        await storage.sessions.create(SESSION, [], None)
    record = Record("k", "f", "t", completed=False, lease_expires_at=100, expires_at=1000)
    await storage.records.create(record, now=10)
    lost = Claim(replace(record, token="other"))

    def settled(claim):
        return lambda _messages: ClaimUpdate(claim, {"turn_id": "t1"}, completed=True)

    with pytest.raises(ClaimLostError):
        await storage.turns.begin(SESSION, [question()], turn(), settled(lost), new=new)
    assert await storage.turns.get("t1") is None
    await storage.turns.begin(SESSION, [question()], turn(), settled(Claim(record)), new=new)
    found = await storage.records.create(replace(record, token="x"), now=10)
    assert (found.reference, found.completed) == ({"turn_id": "t1"}, True)


async def test_events_come_back_from_any_place(storage):
    mine = await begun(storage)
    await storage.turns.add_events(mine, texts(1, "a", "ü\U0001f642", "\ud83d"))
    restart = Numbered(4, RestartEvent("openai", "gpt"))
    await storage.turns.add_events(mine, [restart, *texts(5, "b")])
    everything = [*texts(1, "a", "ü\U0001f642", "\ud83d"), restart, *texts(5, "b")]
    for after in range(7):
        assert list(await storage.turns.events("t1", after)) == everything[after:]
    # A write whose answer was lost comes again, with what was said since.
    await storage.turns.add_events(mine, [*texts(5, "b"), *texts(6, "c")])
    assert list(await storage.turns.events("t1", 2)) == [*everything[2:], *texts(6, "c")]
    assert list(await storage.turns.events("nothing", 0)) == []


async def test_a_burst_larger_than_an_item_is_kept_whole(storage):
    mine = await begun(storage)
    burst = texts(1, *["\U0001f642" * 100] * 700)
    await storage.turns.add_events(mine, burst)
    found = []
    while page := await storage.turns.events("t1", len(found)):
        found += page
    assert found == burst


async def test_the_owner_of_an_attempt_is_told_to_go_on_to_stop_or_that_it_is_lost(storage):
    mine = await begun(storage)
    assert await storage.turns.watch(mine, None) == "go"
    assert await storage.turns.watch(mine, 200) == "go"
    assert (await storage.turns.get("t1")).lease_expires_at == 200
    cancelled = await storage.turns.cancel("t1", LATER)
    assert (cancelled.cancelling, cancelled.status) == (True, "running")
    assert await storage.turns.watch(mine, None) == "cancel"
    assert await storage.turns.watch(mine, 300) == "cancel"
    ended, _ = await storage.turns.conclude(mine, Ending("cancelled", LATER, 0))
    for lease in (None, 400):
        assert await storage.turns.watch(mine, lease) == "lost"
        assert await storage.turns.watch(turn("nothing"), lease) == "lost"
    assert await storage.turns.cancel("t1", LATER) == ended
    assert await storage.turns.cancel("nothing", LATER) is None


async def test_a_turn_ends_with_its_answer_its_events_and_a_free_session(storage):
    mine = await begun(storage)
    ending = Ending(
        "completed",
        LATER,
        last_event=2,
        draft=answer(),
        stop="length",
        events=texts(1, "Hel", "lo"),
        bill=Bill(Usage(1, 2, 3, 4, 5), "0.1", 2),
    )
    ended, message = await storage.turns.conclude(mine, ending)
    assert await storage.turns.get("t1") == ended
    assert (message.sequence, message.draft) == (2, answer())
    assert (await read(storage))[1] == message
    assert ended == turn(
        status="completed",
        updated_at=LATER,
        last_event=2,
        answer=2,
        message_id=2,
        stop="length",
        usage=Usage(1, 2, 3, 4, 5),
        cost="0.1",
        delivered_tokens=2,
    )
    assert list(await storage.turns.events("t1", 0)) == texts(1, "Hel", "lo")
    session = await storage.sessions.get("s1")
    assert (session.turn_id, session.next_sequence, session.updated_at) == (None, 3, LATER)
    await storage.turns.begin(session, [question("t2")], turn("t2"), None, new=False)


async def test_a_turn_tells_of_the_summary_that_it_leaves_to_be_made(storage):
    mine = await begun(storage)
    due = SummaryDue(8, "r-1", None)
    ended, _ = await storage.turns.conclude(mine, Ending("completed", LATER, 0, summary=due))
    assert await storage.turns.get("t1") == ended == replace(ended, summary=due)
    assert ended.again(LATER).summary is None


async def test_an_answer_finds_its_place_behind_what_came_meanwhile(storage):
    mine = await begun(storage)
    session = await storage.sessions.get("s1")
    for _ in range(2):
        session, _ = await storage.sessions.append(session, question(None), None, only_active=True)
    await storage.sessions.change("s1", SessionChanges({"status": "completed"}, NOW))
    _, message = await storage.turns.conclude(mine, Ending("completed", LATER, 0, draft=answer()))
    assert message.sequence == 4


async def test_a_turn_ends_once(storage):
    mine = await begun(storage)
    failure = Failure("provider_error", "The model failed", 502)
    ending = Ending("failed", LATER, 0, failure=failure)
    results = await asyncio.gather(
        *(storage.turns.conclude(mine, ending) for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(r, TurnLostError) for r in results) == 3
    assert (await storage.turns.get("t1")).failure == failure
    with pytest.raises(TurnLostError):
        await storage.turns.conclude(mine, replace(ending, draft=answer()))
    assert len(await read(storage)) == 1


async def test_a_deleted_session_takes_its_turn_and_events_along(storage):
    mine = await begun(storage)
    await storage.turns.add_events(mine, texts(1, "a"))
    await storage.sessions.delete("s1")
    assert await storage.turns.get("t1") is None
    assert list(await storage.turns.events("t1", 0)) == []
    assert await storage.turns.watch(mine, None) == "lost"
    for draft in (None, answer()):
        with pytest.raises((SessionNotFoundError, TurnLostError)):
            await storage.turns.conclude(mine, Ending("completed", LATER, 0, draft=draft))


async def test_a_failed_turn_is_tried_again_by_one(storage):
    mine = await begun(storage)
    failed, _ = await storage.turns.conclude(mine, Ending("failed", LATER, 0))
    again = replace(failed, status="running", attempt=2, first_event=2, lease_expires_at=500)
    results = await asyncio.gather(
        *(storage.turns.retry(failed, again) for _ in range(4)), return_exceptions=True
    )
    assert results.count(None) == 1
    assert sum(isinstance(r, TurnLostError) for r in results) == 3
    assert await storage.turns.get("t1") == again
    assert (await storage.sessions.get("s1")).turn_id == "t1"
    # What the first attempt still has to say is not heard.
    assert await storage.turns.watch(mine, None) == "lost"
    with pytest.raises(TurnLostError):
        await storage.turns.conclude(mine, Ending("completed", LATER, 1, draft=answer()))
    await storage.turns.conclude(again, Ending("completed", LATER, 1, draft=answer()))


async def test_a_turn_is_not_tried_again_beside_another(storage):
    mine = await begun(storage)
    failed, _ = await storage.turns.conclude(mine, Ending("failed", LATER, 0))
    again = replace(failed, status="running", attempt=2)
    session = await storage.sessions.get("s1")
    other = turn("t2")
    await storage.turns.begin(session, [question("t2")], other, None, new=False)
    with pytest.raises(SessionOccupiedError):
        await storage.turns.retry(failed, again)
    await storage.turns.conclude(replace(other, question=2), Ending("completed", LATER, 0))
    await storage.sessions.change("s1", SessionChanges({"status": "failed"}, NOW))
    with pytest.raises(SessionNotActiveError):
        await storage.turns.retry(failed, again)
    await storage.sessions.delete("s1")
    with pytest.raises((SessionNotFoundError, TurnLostError)):
        await storage.turns.retry(failed, again)


async def test_what_a_cancelled_turn_cost_comes_later(storage):
    mine = await begun(storage)
    ended, _ = await storage.turns.conclude(
        mine, Ending("cancelled", LATER, 0, draft=answer(), bill=None)
    )
    assert ended.usage is None
    billed = await storage.turns.account(ended, Bill(Usage(10, 40), "0.2", 20))
    assert await storage.turns.get("t1") == billed
    assert (billed.usage, billed.cost, billed.delivered_tokens) == (Usage(10, 40), "0.2", 20)
    kept = (await read(storage))[1].draft
    assert (kept.tokens_used, kept.cost, kept.content) == (50, "0.2", "Hello")


JOB = Job("high", "r-1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


async def test_a_job_waits_and_holds_its_session(storage):
    mine = await begun(storage, status="queued", lease_expires_at=0, job=JOB)
    assert await storage.turns.get("t1") == mine
    with pytest.raises(SessionOccupiedError):
        await storage.turns.begin(
            await storage.sessions.get("s1"), [question("t2")], turn("t2"), None, new=False
        )
    # Nobody is there who could be asked to stop.
    assert await storage.turns.cancel("t1", LATER) == mine


async def test_a_waiting_job_is_begun_by_one(storage):
    mine = await begun(storage, status="queued", lease_expires_at=0, job=JOB)
    taken = replace(mine, status="running", updated_at=LATER, lease_expires_at=200)
    results = await asyncio.gather(
        *(storage.turns.retry(mine, taken) for _ in range(4)), return_exceptions=True
    )
    assert results.count(None) == 1
    assert [type(r) for r in results].count(TurnLostError) == 3
    assert await storage.turns.get("t1") == taken


async def test_a_waiting_job_ends_without_having_run(storage):
    mine = await begun(storage, status="queued", lease_expires_at=0, job=JOB)
    ended, message = await storage.turns.conclude(mine, Ending("cancelled", LATER, 0))
    assert (ended.status, ended.job, message) == ("cancelled", JOB, None)
    assert (await storage.sessions.get("s1")).turn_id is None
    with pytest.raises(TurnLostError):
        await storage.turns.retry(mine, replace(mine, status="running"))


async def test_an_attempt_whose_owner_came_back_is_not_taken(storage):
    mine = await begun(storage, job=JOB)
    await storage.turns.watch(mine, 500)
    with pytest.raises(TurnLostError):
        await storage.turns.retry(mine, mine.again(LATER, status="running", lease_expires_at=900))
    current = await storage.turns.get("t1")
    await storage.turns.retry(current, current.again(LATER, status="running", lease_expires_at=900))
    assert await storage.turns.watch(mine, None) == "lost"


async def test_a_job_goes_back_into_its_queue_with_its_session_and_its_events(storage):
    mine = await begun(storage, job=JOB)
    await storage.turns.add_events(mine, texts(1, "Ha"))
    later = replace(mine, last_event=2).again(LATER, status="queued")
    assert await storage.turns.postpone(mine, later, texts(2, "lf"), Bill())
    assert await storage.turns.get("t1") == later
    assert (later.status, later.attempt, later.first_event, later.job) == ("queued", 2, 4, JOB)
    assert list(await storage.turns.events("t1", 0)) == texts(1, "Ha", "lf")
    assert (await storage.sessions.get("s1")).turn_id == "t1"
    assert len(await read(storage)) == 1
    for late in (
        storage.turns.postpone(mine, later, (), Bill()),
        storage.turns.conclude(mine, Ending("completed", LATER, 2, draft=answer())),
    ):
        with pytest.raises(TurnLostError):
            await late


async def test_a_job_that_is_to_stop_does_not_go_back(storage):
    mine = await begun(storage, job=JOB)
    await storage.turns.cancel("t1", LATER)
    later = mine.again(LATER, status="queued")
    assert not await storage.turns.postpone(mine, later, texts(1, "a"), Bill())
    assert (await storage.turns.get("t1")).status == "running"
    assert list(await storage.turns.events("t1", 0)) == []


async def test_what_an_attempt_cost_that_goes_back_is_written_down(storage):
    mine = await begun(storage, job=JOB)
    charged = Charge("t1", 1, "s1", 7, 3, "bedrock", "m", Usage(10, 5), 1_000, "2026-11-01", NOW)
    bill = Bill(charged.usage, "0.000000001", charges=(charged,))
    later = mine.again(LATER, status="queued")
    assert await storage.turns.postpone(mine, later, (), bill)
    wanted = UsageFilter(7, None, NOW.date(), NOW.date())
    (aggregate,) = [found async for found in storage.usage.aggregates(wanted)]
    assert (aggregate.tally.calls, aggregate.tally.cost) == (1, 1_000)


async def test_a_lost_attempt_is_charged_with_the_beginning_of_the_next_one(storage):
    mine = await begun(storage, job=JOB)
    taken = mine.again(LATER, status="running", lease_expires_at=900)
    lost = Charge("t1", 1, "s1", 7, 3, "bedrock", "m", Usage(10, 2), 5, "list", NOW, estimated=True)
    bill = Bill(charges=(lost,))
    results = await asyncio.gather(
        *(storage.turns.retry(mine, taken, bill) for _ in range(4)), return_exceptions=True
    )
    assert results.count(None) == 1
    assert [type(r) for r in results].count(TurnLostError) == 3
    wanted = UsageFilter(7, None, lost.day, lost.day)
    (sums,) = [found async for found in storage.usage.aggregates(wanted)]
    assert (sums.tally.calls, sums.tally.estimated_calls) == (1, 1)
