"""Turns by their id: one at a time in a session, followed from any place, cancelled, outlived."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from functions.ai.domain.errors import ProviderUnavailableError
from functions.ai.domain.inference import Completion, Usage
from functions.ai.domain.turns import LEASE_SECONDS
from servicekit.errors import StoreUnavailableError
from tests.fakes.ai_app import AiService, chat_body, chunks
from tests.fakes.memory import ScriptedProvider

pytestmark = pytest.mark.anyio

CHAT = "/api/v1/chat"
STREAM = "/api/v1/chat/stream"
DONE = Completion(Usage(10, 40))


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """What is waited for is the same, at another pace."""
    monkeypatch.setattr("functions.ai.domain.turn_service.POLL_SECONDS", 0.01)
    monkeypatch.setattr("functions.ai.domain.runner.WATCH_SECONDS", 0.01)
    monkeypatch.setattr("functions.ai.domain.journal.WRITE_SECONDS", 0.01)


@pytest.fixture
def service() -> AiService:
    return AiService()


def events(answer: Any) -> list[dict[str, Any]]:
    """The TurnEvents of a stream, whose ids are their sequences."""
    assert answer.status_code == 200, answer.text
    found = []
    for frame in answer.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in frame.splitlines() if line[0] != ":")
        if lines:
            event = json.loads(lines["data"])
            assert (lines["id"], lines["event"]) == (str(event["sequence"]), event["type"])
            found.append(event)
    start, *rest = found
    assert start["type"] == "start"
    assert start["sequence"] < rest[0]["sequence"]
    assert start["turn"]["turn_id"] == answer.headers["x-turn-id"]
    return rest


async def running(service: AiService, path: str = STREAM, **fields: Any) -> tuple[Any, str]:
    """A call whose model waits for `go`, and its turn."""
    call = asyncio.create_task(service.call("POST", path, chat_body(**fields), idempotency_key="k"))
    await service.provider.asked.wait()
    service.provider.asked.clear()
    (turn_id,) = service.memory.turns.turns
    return call, turn_id


async def stored(service: AiService, turn_id: str, count: int) -> None:
    """Waits until so many events can be followed from elsewhere."""
    async with asyncio.timeout(5):
        while len(service.memory.turns.stored[turn_id]) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def status(service: AiService, turn_id: str) -> dict[str, Any]:
    answer = await service.call("GET", f"/api/v1/turns/{turn_id}")
    assert answer.status_code == 200, answer.text
    turn: dict[str, Any] = answer.json()
    return turn


async def test_a_turn_tells_what_became_of_it(service):
    answer = await service.call("POST", CHAT, chat_body())
    turn = await status(service, answer.json()["turn_id"])
    assert turn["status"] == "completed"
    assert turn["message_id"] == answer.json()["message"]["id"]
    assert turn["usage"] == {
        "input": 100,
        "output": 20,
        "cache_read": 0,
        "cache_write": 0,
        "cache_write_1h": 0,
        "reasoning": 0,
    }
    assert (turn["stop"], turn["error"], turn["attempt"]) == ("end", None, 1)
    assert turn["cost"] == answer.json()["message"]["cost"]


async def test_a_failed_turn_tells_why(service):
    service.provider.script = [["Half"], ProviderUnavailableError()]
    answer = await service.call("POST", STREAM, chat_body())
    turn = await status(service, answer.headers["x-turn-id"])
    assert turn["status"] == "failed"
    assert turn["error"] == {
        "code": "provider_unavailable",
        "title": "The provider is not available",
        "status": 503,
    }
    assert turn["message_id"] == chunks(answer)[-1]["message_id"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/turns/{}"),
        ("GET", "/api/v1/turns/{}/events"),
        ("POST", "/api/v1/turns/{}/cancel"),
    ],
)
@pytest.mark.parametrize("turn_id", ["nothing", "x" * 3000])
async def test_a_turn_that_does_not_exist_is_a_404(service, method, path, turn_id):
    answer = await service.call(method, path.format(turn_id))
    assert (answer.status_code, answer.json()["code"]) == (404, "turn_not_found")


@pytest.mark.parametrize("path", [CHAT, STREAM])
async def test_the_key_of_a_running_turn_follows_it(service, path):
    service.provider.script = [["One"], [" two"], None, [" three"], DONE]
    first, turn_id = await running(service, path)
    await stored(service, turn_id, 2)
    second = asyncio.create_task(service.call("POST", path, chat_body(), idempotency_key="k"))
    await asyncio.sleep(0.03)
    service.provider.go.set()
    answers = [await first, await second]
    assert len(service.provider.prompts) == 1
    if path == CHAT:
        assert answers[0].json() == answers[1].json()
    else:
        assert [c["chunk"] for c in chunks(answers[1])] == ["One", " two", " three", ""]
        assert answers[0].text == answers[1].text


@pytest.mark.parametrize("after", [0, 1, 2, 3])
async def test_a_running_turn_is_followed_from_any_place_once_and_in_order(service, after):
    service.provider.script = [["One"], [" two"], None, [" three"], DONE]
    first, turn_id = await running(service)
    await stored(service, turn_id, 2)
    path = f"/api/v1/turns/{turn_id}/events"
    follower = asyncio.create_task(service.call("GET", path, last_event_id=str(after)))
    await asyncio.sleep(0.03)
    assert not follower.done()
    service.provider.go.set()
    got = events(await follower)
    assert [e.get("text") for e in got] == ["One", " two", " three", None][after:]
    assert [e["sequence"] for e in got] == [1, 2, 3, 4][after:]
    assert got[-1]["type"] == "end"
    assert got[-1]["turn"]["status"] == "completed"
    assert got[-1]["turn"]["message_id"] == chunks(await first)[-1]["message_id"]
    # What has ended is told again, from the store alone.
    again = await service.call("GET", path, last_event_id=str(after))
    assert events(again) == got


async def test_a_turn_is_followed_as_v1_has_it(service):
    first = await service.call("POST", STREAM, chat_body())
    path = f"/api/v1/turns/{first.headers['x-turn-id']}/events"
    whole = await service.call("GET", f"{path}?protocol=v1")
    assert whole.text == first.text
    rest = await service.call(
        "GET", f"{path}?last_event_id=1", accept="text/event-stream; protocol=v1"
    )
    assert chunks(rest) == chunks(first)[1:]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("events?protocol=v9", {}),
        ("events", {"accept": "text/event-stream;protocol=v9"}),
        ("events", {"last_event_id": "-1"}),
        ("events", {"last_event_id": "99999999999"}),
        ("events?last_event_id=one", {}),
    ],
)
async def test_what_cannot_be_followed_is_refused(service, path, headers):
    answer = await service.call("GET", f"/api/v1/turns/any/{path}", **headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_chat_is_told_as_events_to_whom_asks_for_them(service):
    answer = await service.call("POST", f"{STREAM}?protocol=events", chat_body())
    got = events(answer)
    assert [e["type"] for e in got] == ["text", "text", "text", "end"]
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_events_that_are_gone_are_told_as_one(service):
    answer = await service.call("POST", CHAT, chat_body())
    turn_id = answer.json()["turn_id"]
    service.memory.turns.stored[turn_id].clear()
    path = f"/api/v1/turns/{turn_id}/events"
    got = events(await service.call("GET", path))
    assert [(e["sequence"], e.get("text")) for e in got] == [(3, "Hello there!"), (4, None)]
    late = events(await service.call("GET", path, last_event_id="2"))
    assert [e["type"] for e in late] == ["restart", "text", "end"]
    v1 = chunks(await service.call("GET", f"{path}?protocol=v1", last_event_id="2"))
    assert [c.get("error", {}).get("code") for c in v1] == ["answer_restarted"]


async def test_silence_is_told(service, monkeypatch):
    for module in ("channel", "turn_service"):
        monkeypatch.setattr(f"functions.ai.domain.{module}.SILENCE_SECONDS", 0.02)
    service.provider.script = [["One"], None, DONE]
    first, turn_id = await running(service)
    follower = asyncio.create_task(service.call("GET", f"/api/v1/turns/{turn_id}/events"))
    await asyncio.sleep(0.15)
    service.provider.go.set()
    for answer in (await first, await follower):
        assert answer.text.count(": nothing new\n\n") >= 2
    assert [c["chunk"] for c in chunks(await first)] == ["One", ""]


async def test_a_burst_is_written_at_once_and_not_piece_by_piece(service, monkeypatch):
    monkeypatch.setattr("functions.ai.domain.journal.WRITE_SECONDS", 60)
    service.provider.script = [*[["x"]] * 500, DONE]
    answer = await service.call("POST", STREAM, chat_body())
    assert service.memory.turns.writes == []
    assert len(service.memory.turns.stored[answer.headers["x-turn-id"]]) == 500


async def test_events_that_cannot_be_written_come_later(service, monkeypatch):
    monkeypatch.setattr("functions.ai.domain.runner.WATCH_SECONDS", 60)
    service.provider.script = [["One"], None, [" two"], DONE]
    service.memory.turns.failure = None
    first, turn_id = await running(service)
    service.memory.turns.failure = StoreUnavailableError()
    await asyncio.sleep(0.05)
    assert service.memory.turns.stored[turn_id] == []
    service.memory.turns.failure = None
    service.provider.go.set()
    assert (await first).status_code == 200
    got = events(await service.call("GET", f"/api/v1/turns/{turn_id}/events"))
    assert [e.get("text") for e in got] == ["One", " two", None]


async def test_a_session_answers_one_message_at_a_time(service):
    session_id = (await service.new_session())["session_id"]
    service.provider.script = [None, ["Late"], DONE]
    first, turn_id = await running(service, CHAT, session_id=session_id)
    second = await service.call("POST", CHAT, chat_body(session_id=session_id, message="Too soon"))
    assert (second.status_code, second.json()["code"]) == (409, "turn_in_progress")
    assert second.json()["turn_id"] == turn_id
    assert second.headers["retry-after"] == "2"
    added = await service.call(
        "POST", f"/api/v1/sessions/{session_id}/messages", {"role": "user", "content": "Note"}
    )
    assert added.status_code == 200
    service.provider.go.set()
    assert (await first).status_code == 200
    messages = [m["content"] for m in await service.messages(session_id)]
    assert messages == ["Hi", "Note", "Late"]
    service.provider.script = [["Third"], DONE]
    third = await service.call("POST", CHAT, chat_body(session_id=session_id))
    assert third.json()["message"]["content"] == "Third"


async def test_of_many_messages_at_once_each_is_answered_or_refused(service):
    session_id = (await service.new_session())["session_id"]
    bodies = [chat_body(session_id=session_id, message=f"m{n}") for n in range(8)]
    answers = await asyncio.gather(*(service.call("POST", CHAT, body) for body in bodies))
    answered = [a for a in answers if a.status_code == 200]
    assert answered
    assert {a.json()["code"] for a in answers if a not in answered} <= {"turn_in_progress"}
    assert len(await service.messages(session_id)) == 2 * len(answered)


async def test_a_cancelled_turn_stops_its_provider_and_keeps_what_was_said(service):
    service.provider.script = [["Half"], None, [" more"], DONE]
    session_id = (await service.new_session())["session_id"]
    call, turn_id = await running(service, session_id=session_id)
    asked = await service.call("POST", f"/api/v1/turns/{turn_id}/cancel")
    assert (asked.status_code, asked.json()["cancelling"]) == (200, True)
    got = chunks(await call)
    assert got[-1]["error"]["code"] == "turn_cancelled"
    assert service.provider.broken_off == 1
    kept = await service.messages(session_id)
    assert [m["content"] for m in kept] == ["Hi", "Half"]
    assert got[-1]["message_id"] == kept[-1]["id"]
    turn = await status(service, turn_id)
    assert (turn["status"], turn["cancelling"], turn["usage_estimated"]) == (
        "cancelled",
        False,
        True,
    )
    assert (turn["usage"]["output"], turn["delivered_tokens"]) == (1, 1)
    again = await service.call("POST", f"/api/v1/turns/{turn_id}/cancel")
    assert again.json() == turn
    # Its key gives the same answer, and asks nobody.
    replayed = await service.call(
        "POST", STREAM, chat_body(session_id=session_id), idempotency_key="k"
    )
    assert chunks(replayed) == got
    assert len(service.provider.prompts) == 1


async def test_where_breaking_off_saves_nothing_a_cancelled_answer_is_read_and_billed(service):
    service.provider.drains = True
    service.provider.script = [["Half"], None, ["Half"], DONE]
    call, turn_id = await running(service)
    await service.call("POST", f"/api/v1/turns/{turn_id}/cancel")
    async with asyncio.timeout(5):
        while (turn := await status(service, turn_id))["status"] != "cancelled":  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert turn["usage"] is None
    assert not call.done()
    service.provider.go.set()
    got = chunks(await call)
    assert [c["chunk"] for c in got] == ["Half", ""]
    turn = await status(service, turn_id)
    assert turn["usage"]["output"] == 40
    assert turn["delivered_tokens"] == 20
    assert service.provider.broken_off == 0
    (answer,) = [m for m in await service.messages(turn["session_id"]) if m["role"] != "user"]
    assert (answer["content"], answer["tokens_used"]) == ("Half", 50)
    assert answer["cost"] == turn["cost"] != None  # noqa: E711


@pytest.mark.parametrize("path", [CHAT, STREAM])
async def test_a_turn_that_is_cancelled_before_its_first_text_is_a_409(service, path):
    service.provider.script = [None, ["Never"], DONE]
    call, turn_id = await running(service, path)
    await service.call("POST", f"/api/v1/turns/{turn_id}/cancel")
    answer = await call
    assert (answer.status_code, answer.json()["code"]) == (409, "turn_cancelled")
    turn = await status(service, turn_id)
    assert (turn["status"], turn["message_id"]) == ("cancelled", None)


async def test_a_turn_that_has_ended_cannot_be_cancelled(service):
    answer = await service.call("POST", CHAT, chat_body())
    turn_id = answer.json()["turn_id"]
    turn = await service.call("POST", f"/api/v1/turns/{turn_id}/cancel")
    assert (turn.status_code, turn.json()["status"]) == (200, "completed")


async def test_a_turn_longer_than_its_lease_goes_on(service, monkeypatch):
    monkeypatch.setattr("functions.ai.domain.runner.RENEW_SECONDS", 0)
    service.provider.script = [None, ["Late"], DONE]
    call, turn_id = await running(service, CHAT)
    for _ in range(3):
        await asyncio.sleep(0.05)
        service.clock.pass_seconds(LEASE_SECONDS - 5)
        assert (await status(service, turn_id))["status"] == "running"
    service.provider.go.set()
    assert (await call).json()["message"]["content"] == "Late"


async def crashed(service: AiService, turn_id: str) -> AiService:
    """Another process, after the lease of the one that is stuck has run out."""
    service.clock.pass_seconds(LEASE_SECONDS + 1)
    successor = AiService(storage=service.memory.storage(), provider=ScriptedProvider())
    successor.memory = service.memory
    successor.clock.now = service.clock.now
    return successor


async def test_the_turn_of_a_process_that_is_gone_ends_and_keeps_what_was_said(
    service, monkeypatch
):
    monkeypatch.setattr("functions.ai.domain.runner.WATCH_SECONDS", 60)
    service.provider.script = [["Ha", "lf"], None]
    _, turn_id = await running(service)
    await stored(service, turn_id, 2)
    successor = await crashed(service, turn_id)
    turn = await status(successor, turn_id)
    assert (turn["status"], turn["error"]["code"]) == ("failed", "turn_interrupted")
    assert [m["content"] for m in await successor.messages(turn["session_id"])] == ["Hi", "Half"]
    body = chat_body(session_id=turn["session_id"], message="And?")
    assert (await successor.call("POST", CHAT, body)).status_code == 200


async def test_what_a_process_that_is_gone_had_said_is_charged_once_as_an_estimate(
    service, monkeypatch
):
    monkeypatch.setattr("functions.ai.domain.runner.WATCH_SECONDS", 60)
    await service.call("PUT", "/api/v1/budgets/project-7", {"daily_limit": "5"})
    service.provider.script = [["Ha", "lf"], None, DONE]
    call, turn_id = await running(service)
    await stored(service, turn_id, 2)
    successor = await crashed(service, turn_id)
    turn, again = await asyncio.gather(status(successor, turn_id), status(successor, turn_id))
    assert turn == again
    (charge,) = successor.memory.money.charges.values()
    assert (charge.turn_id, charge.attempt, charge.estimated) == (turn_id, 1, True)
    # "Hi" and its frame, and four characters.
    assert (charge.usage.input, charge.usage.output) == (18, 1)
    assert (turn["usage_estimated"], turn["usage"]["input"]) == (True, 18)
    assert Decimal(turn["cost"]) == charge.dollars
    usage = await successor.call("GET", "/api/v1/usage?project_id=7&from=2026-11-22&to=2026-11-22")
    assert usage.json()["total"]["estimated_calls"] == 1
    budget = (await successor.call("GET", "/api/v1/budgets/project-7")).json()
    assert Decimal(budget["periods"][0]["spent"]) == charge.dollars
    # It was only slow: its attempt is no longer its own, nor is what that cost.
    service.provider.go.set()
    await call
    assert list(successor.memory.money.charges.values()) == [charge]


async def test_a_process_that_is_gone_and_had_said_nothing_costs_nothing(service, monkeypatch):
    monkeypatch.setattr("functions.ai.domain.runner.WATCH_SECONDS", 60)
    service.provider.script = [None]
    _, turn_id = await running(service)
    successor = await crashed(service, turn_id)
    turn = await status(successor, turn_id)
    assert (turn["status"], turn["usage"], turn["cost"]) == ("failed", None, None)
    assert successor.memory.money.charges == {}


async def test_a_session_whose_turn_is_gone_takes_the_next_message(service, monkeypatch):
    monkeypatch.setattr("functions.ai.domain.runner.WATCH_SECONDS", 60)
    session_id = (await service.new_session())["session_id"]
    service.provider.script = [None]
    _, turn_id = await running(service, session_id=session_id)
    successor = await crashed(service, turn_id)
    body = chat_body(session_id=session_id, message="And?")
    assert (await successor.call("POST", CHAT, body)).status_code == 200
    assert (await status(successor, turn_id))["status"] == "failed"


async def test_after_a_crash_the_key_tries_the_turn_again(service):
    service.provider.script = [["Ha"], None, ["lf"], DONE]
    first, turn_id = await running(service)
    await stored(service, turn_id, 1)
    successor = await crashed(service, turn_id)
    again = await successor.call("POST", STREAM, chat_body(), idempotency_key="k")
    assert "".join(c["chunk"] for c in chunks(again)) == "Hello there!"
    assert again.headers["x-turn-id"] == turn_id
    # The one that was only slow finds its attempt taken, and stores no second answer.
    service.provider.go.set()
    assert chunks(await first)[-1]["error"]["code"] == "turn_lost"
    turn = await status(successor, turn_id)
    assert (turn["status"], turn["attempt"]) == ("completed", 2)
    got = events(await successor.call("GET", f"/api/v1/turns/{turn_id}/events", last_event_id="0"))
    assert [e["type"] for e in got] == ["text", "restart", "text", "text", "text", "end"]
    assert [e["sequence"] for e in got] == [1, 2, 3, 4, 5, 6]
    fresh = events(await successor.call("GET", f"/api/v1/turns/{turn_id}/events"))
    assert [e["sequence"] for e in fresh] == [3, 4, 5, 6]
    roles = [(m["role"], m["content"]) for m in await successor.messages(turn["session_id"])]
    assert roles == [("user", "Hi"), ("assistant", "Ha"), ("assistant", "Hello there!")]


async def test_a_deleted_session_takes_its_turn_along(service):
    session_id = (await service.new_session())["session_id"]
    answer = await service.call("POST", CHAT, chat_body(session_id=session_id))
    await service.call("DELETE", f"/api/v1/sessions/{session_id}")
    turn_id = answer.json()["turn_id"]
    gone = await service.call("GET", f"/api/v1/turns/{turn_id}")
    assert (gone.status_code, gone.json()["code"]) == (404, "turn_not_found")
    assert turn_id not in service.memory.turns.stored


async def test_what_is_done_with_turns_is_recorded(service):
    answer = await service.call("POST", CHAT, chat_body())
    turn_id = answer.json()["turn_id"]
    service.memory.outbox.events.clear()
    await service.call("GET", f"/api/v1/turns/{turn_id}")
    await service.call("GET", f"/api/v1/turns/{turn_id}/events")
    await service.call("POST", f"/api/v1/turns/{turn_id}/cancel")
    recorded = service.memory.outbox.events
    assert [e["action"] for e in recorded] == ["ai.turn.read", "ai.turn.follow", "ai.turn.cancel"]
    assert {e["resource"] for e in recorded} == {f"ai/turns/{turn_id}"}
    assert {e["user_id"] for e in recorded} == {3}
