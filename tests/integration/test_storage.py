"""What every implementation of the AI service's ports keeps: the fake and the real one."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from functions.ai.bootstrap import FIRST_IDS_ABOVE
from functions.ai.domain.errors import (
    ClaimLostError,
    SessionNotActiveError,
    SessionNotFoundError,
)
from functions.ai.domain.inference import Opaque
from functions.ai.domain.models import Draft, Session, SessionChanges, SessionFilter
from servicekit.idempotency import Claim, ClaimUpdate, Record
from servicekit.ids import IntegerIds
from servicekit.paging import InvalidCursorError
from tests.integration.conftest import TABLE

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)


def session(name="s1", **fields):
    return Session(
        **{
            "session_id": name,
            "number": 5,
            "project_id": 7,
            "user_id": 3,
            "card_id": None,
            "provider": "bedrock",
            "model": "m",
            "status": "active",
            "context": {},
            "created_at": NOW,
            **fields,
        }
    )


def draft(number=1, **fields):
    return Draft(**{"number": number, "role": "user", "content": "x", "created_at": NOW, **fields})


def record(key="k", token="t", **fields):
    return Record(
        **{
            "key": key,
            "fingerprint": "f",
            "token": token,
            "completed": False,
            "lease_expires_at": 100,
            "expires_at": 1000,
            **fields,
        }
    )


async def read(storage, stored, **bounds):
    return [m async for m in storage.sessions.messages(stored, **bounds)]


async def test_what_is_stored_comes_back(storage):
    full = draft(
        role="assistant",
        content="ü\u2028\x00🙂",
        tool_calls=[{"a": [1, 2.5, None, {"ü": True}]}],
        tool_results=[],
        tokens_used=12,
        cost="0.00000006",
        reply_to=1,
        incomplete=True,
        opaque=(Opaque("bedrock", {"text": "ü", "signature": "x"}), Opaque("anthropic", {})),
        stop="tool_calls",
    )
    wanted = session(card_id=9, context={"deep": [{"x": 1.5}]})
    stored, messages = await storage.sessions.create(wanted, [draft(), full], None)
    assert await storage.sessions.get("s1") == stored
    assert stored.next_sequence == 3
    assert [m.sequence for m in messages] == [1, 2]
    assert await read(storage, stored) == messages
    assert messages[1].draft == full


async def test_a_message_of_earlier_days_is_read(dynamodb, make_client):
    stored, (message,) = await dynamodb.sessions.create(session(), [draft(stop="end")], None)
    client = make_client()
    (item,) = (i for i in client.scan(TableName=TABLE)["Items"] if "stop" in i)
    client.update_item(
        TableName=TABLE,
        Key={"pk": item["pk"], "sk": item["sk"]},
        UpdateExpression="REMOVE #opaque, #stop",
        ExpressionAttributeNames={"#opaque": "opaque", "#stop": "stop"},
    )
    assert await read(dynamodb, stored) == [replace(message, draft=draft())]


async def test_nothing_comes_back_where_nothing_is(storage):
    assert await storage.sessions.get("nothing") is None
    assert await read(storage, session("nothing")) == []
    for failing in (
        storage.sessions.delete("nothing"),
        storage.sessions.change("nothing", SessionChanges({"status": "failed"}, NOW)),
        storage.sessions.append(session("nothing"), draft(), None, only_active=False),
    ):
        with pytest.raises(SessionNotFoundError):
            await failing


async def test_messages_are_read_in_part_and_in_both_directions(storage):
    stored, _ = await storage.sessions.create(session(), [], None)
    for number in range(1, 8):
        stored, _ = await storage.sessions.append(stored, draft(number), None, only_active=True)
    assert [m.sequence for m in await read(storage, stored, page_size=2)] == list(range(1, 8))
    assert [m.sequence for m in await read(storage, stored, after=3, up_to=5)] == [4, 5]
    newest = await read(storage, stored, newest_first=True, page_size=3)
    assert [m.sequence for m in newest] == list(range(7, 0, -1))
    assert await read(storage, stored, after=7) == []
    assert await read(storage, stored, after=10**12) == []
    assert await read(storage, stored, up_to=0) == []


async def test_an_outdated_session_appends_behind_what_is_there(storage):
    outdated, _ = await storage.sessions.create(session(), [], None)
    results = await asyncio.gather(
        *(storage.sessions.append(outdated, draft(n), None, only_active=True) for n in range(4))
    )
    assert sorted(m.sequence for _, m in results) == [1, 2, 3, 4]
    stored = await storage.sessions.get("s1")
    assert stored.next_sequence == 5
    assert stored.updated_at == NOW
    assert sorted(m.draft.number for m in await read(storage, stored)) == [0, 1, 2, 3]


async def test_only_active_sessions_take_messages_where_that_is_asked(storage):
    stored, _ = await storage.sessions.create(session(), [], None)
    ended = await storage.sessions.change("s1", SessionChanges({"status": "cancelled"}, NOW))
    assert (ended.status, ended.completed_at) == ("cancelled", NOW)
    with pytest.raises(SessionNotActiveError):
        await storage.sessions.append(stored, draft(), None, only_active=True)
    _, message = await storage.sessions.append(stored, draft(), None, only_active=False)
    assert message.sequence == 1


async def test_changes_touch_only_what_they_name(storage):
    await storage.sessions.create(session(card_id=9, context={"a": 1}), [], None)
    changed = await storage.sessions.change("s1", SessionChanges({"card_id": None}, NOW))
    assert (changed.card_id, changed.context, changed.status) == (None, {"a": 1}, "active")
    changed = await storage.sessions.change("s1", SessionChanges({"context": {"b": 2}}, NOW))
    assert await storage.sessions.get("s1") == changed
    assert changed.context == {"b": 2}


async def test_a_deleted_session_and_its_messages_are_gone(storage):
    stored, _ = await storage.sessions.create(session(), [], None)
    for number in range(60):
        stored, _ = await storage.sessions.append(stored, draft(number), None, only_active=True)
    await storage.sessions.delete("s1")
    assert await storage.sessions.get("s1") is None
    assert await read(storage, stored) == []
    for filters in (SessionFilter(7, None), SessionFilter(None, 3)):
        assert (await storage.sessions.list_sessions(filters, 10, None)).sessions == []
    with pytest.raises(SessionNotFoundError):
        await storage.sessions.append(stored, draft(), None, only_active=False)
    with pytest.raises(SessionNotFoundError):
        await storage.sessions.delete("s1")


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (SessionFilter(7, None), ["s8", "s6", "s4", "s2", "s0"]),
        (SessionFilter(None, 3), ["s8", "s7", "s6", "s5", "s4", "s3", "s2", "s1", "s0"]),
        (SessionFilter(7, 3), ["s8", "s6", "s4", "s2", "s0"]),
        (SessionFilter(9, 3), []),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 5, 100])
async def test_lists_are_newest_first_and_page_without_gaps(storage, wanted, names, limit):
    for n in range(9):
        made = session(f"s{n}", project_id=7 + n % 2, created_at=NOW + timedelta(microseconds=n))
        await storage.sessions.create(made, [], None)
    seen, position = [], None
    while True:
        page = await storage.sessions.list_sessions(wanted, limit, position)
        assert len(page.sessions) <= limit
        seen += [s.session_id for s in page.sessions]
        position = page.next_position
        if position is None:
            break
    assert seen == names


async def test_a_position_that_was_never_given_is_refused(storage):
    with pytest.raises(InvalidCursorError):
        await storage.sessions.list_sessions(SessionFilter(7, None), 5, "nonsense")


async def test_a_record_lives_until_it_expires(storage):
    assert await storage.records.create(record(), now=10) is None
    found = await storage.records.create(record(token="other"), now=999)
    assert found == record()
    assert await storage.records.create(record(token="other"), now=1000) is None


async def test_one_of_many_creates_a_record(storage):
    made = await asyncio.gather(
        *(storage.records.create(record(token=str(n)), now=10) for n in range(8))
    )
    assert made.count(None) == 1


async def test_leases_belong_to_tokens(storage):
    await storage.records.create(record(), now=10)
    assert await storage.records.extend("k", "t", 200)
    assert not await storage.records.extend("k", "other", 200)
    assert not await storage.records.extend("nothing", "t", 200)
    taken = await storage.records.retake(
        record(token="new", lease_expires_at=300, expires_at=2000), "t"
    )
    assert taken == record(token="new", lease_expires_at=300, expires_at=2000)
    assert await storage.records.retake(record(token="late"), "t") is None


async def test_another_request_takes_a_record_only_while_nothing_is_stored(storage):
    stored, _ = await storage.sessions.create(session(), [], None)
    await storage.records.create(record(fingerprint="wrong"), now=10)
    corrected = record(fingerprint="corrected", token="second")
    assert await storage.records.retake(corrected, "t") == corrected

    # What was slow and not dead stores its question after all, just before it is taken over.
    def progress(messages):
        return ClaimUpdate(Claim(corrected), {"at": messages[0].sequence}, completed=False)

    await storage.sessions.append(stored, draft(1), progress, only_active=True)
    wrong = record(fingerprint="wrong", token="third")
    assert await storage.records.retake(wrong, "second") is None
    same = record(fingerprint="corrected", token="fourth")
    assert (await storage.records.retake(same, "second")).reference == {"at": 1}


async def test_a_claim_is_settled_with_the_message_or_not_at_all(storage):
    stored, _ = await storage.sessions.create(session(), [], None)
    await storage.records.create(record(), now=10)
    claim = Claim(record())

    def progress(messages):
        return ClaimUpdate(claim, {"at": messages[0].sequence}, completed=False)

    def completion(messages):
        return ClaimUpdate(claim, {"at": messages[0].sequence}, completed=True)

    stored, _ = await storage.sessions.append(stored, draft(1), progress, only_active=True)
    found = await storage.records.create(record(token="x"), now=10)
    assert (found.reference, found.completed) == ({"at": 1}, False)
    stored, _ = await storage.sessions.append(stored, draft(2), completion, only_active=True)
    found = await storage.records.create(record(token="x"), now=10)
    assert (found.reference, found.completed) == ({"at": 2}, True)
    with pytest.raises(ClaimLostError):
        await storage.sessions.append(stored, draft(3), completion, only_active=True)
    with pytest.raises(ClaimLostError):
        await storage.sessions.create(session("s2"), [draft(4)], completion)
    assert len(await read(storage, stored)) == 2
    assert await storage.sessions.get("s2") is None


async def test_ids_are_unique_among_processes_and_above_the_floor(storage):
    processes = [IntegerIds(storage.counter, "session") for _ in range(4)]
    drawn = await asyncio.gather(*(p.draw() for _ in range(60) for p in processes))
    assert len(set(drawn)) == 240
    assert min(drawn) == FIRST_IDS_ABOVE + 1
    assert await IntegerIds(storage.counter, "message").draw() == FIRST_IDS_ABOVE + 1


async def test_the_store_can_be_checked(storage):
    await storage.sessions.check()
