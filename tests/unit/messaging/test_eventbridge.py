"""Calls of the bus: what they hold, and what becomes of entries that it refuses."""

import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from contracts.messaging.envelope import Envelope
from functions.messaging.adapters import eventbridge
from functions.messaging.adapters.eventbridge import ATTEMPTS, EventBridgeBus

pytestmark = pytest.mark.anyio

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(eventbridge, "_FIRST_PAUSE_SECONDS", 0)


def envelope(event_id: str, text: str = "") -> Envelope:
    return Envelope(
        id=event_id,
        source="santaclaude.ai",
        type="ai.job.queued",
        time=AT,
        correlationid="c",
        tenant="none",
        acceptedat=AT,
        data={"text": text},
    )


class Client:
    """EventBridge; `answers` are what it does, one call after another, then it takes all.

    A list names the positions that it refuses; an exception is raised.
    """

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[list[Any]] = []
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()

    def put_events(self, *, Entries: list[Any]) -> Any:  # noqa: N803
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.calls.append(Entries)
            answer = self.answers.pop(0) if self.answers else []
        try:
            if isinstance(answer, Exception):
                raise answer
            if callable(answer):
                answer()
                answer = []
            told = [{"EventId": "x"} for _ in Entries]
            for position in answer:
                told[position] = {"ErrorCode": "ThrottlingException", "ErrorMessage": "m"}
            return {"FailedEntryCount": len(answer), "Entries": told}
        finally:
            with self._lock:
                self.at_once -= 1

    @property
    def ids(self) -> list[list[str]]:
        return [[json.loads(entry["Detail"])["id"] for entry in call] for call in self.calls]

    def close(self) -> None:
        pass


def refusal(code: str, status: int = 400) -> ClientError:
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "PutEvents")


async def put(client: Client, envelopes: list[Envelope]) -> list[int]:
    bus = EventBridgeBus("santaclaude-local", lambda: client)
    try:
        return await bus.put(envelopes)
    finally:
        bus.close()


async def test_an_entry_repeats_what_rules_look_at():
    client = Client()
    assert await put(client, [envelope("a")]) == []
    ((entry,),) = client.calls
    assert entry | {"Detail": json.loads(entry["Detail"])} == {
        "EventBusName": "santaclaude-local",
        "Source": "santaclaude.ai",
        "DetailType": "ai.job.queued",
        "Detail": envelope("a").model_dump(mode="json"),
        "Time": AT,
    }


async def test_a_call_holds_ten_entries():
    client = Client()
    assert await put(client, [envelope(str(n)) for n in range(23)]) == []
    assert sorted(len(call) for call in client.calls) == [3, 10, 10]


async def test_a_call_holds_less_than_a_megabyte():
    client = Client()
    assert await put(client, [envelope(str(n), "x" * 240_000) for n in range(6)]) == []
    assert sorted(len(call) for call in client.calls) == [2, 4]
    for call in client.calls:
        sizes = [
            14 + len(one["Source"]) + len(one["DetailType"]) + len(one["Detail"]) for one in call
        ]
        assert sum(sizes) < 1_000_000


async def test_only_what_was_refused_is_sent_again():
    client = Client([1, 3], [0])
    assert await put(client, [envelope(one) for one in "abcd"]) == []
    assert client.ids == [["a", "b", "c", "d"], ["b", "d"], ["b"]]


async def test_what_is_refused_to_the_end_is_told_of_by_position():
    client = Client([1], *[[0]] * ATTEMPTS)
    assert await put(client, [envelope(one) for one in "abc"]) == [1]
    assert len(client.calls) == ATTEMPTS


@pytest.mark.parametrize(
    "error",
    [
        refusal("ThrottlingException"),
        refusal("InternalException", 500),
        refusal("ServiceUnavailable", 503),
        EndpointConnectionError(endpoint_url="http://bus"),
    ],
)
async def test_a_call_that_may_pass_is_made_again(error):
    client = Client(error)
    assert await put(client, [envelope("a"), envelope("b")]) == []
    assert client.ids == [["a", "b"]] * 2


async def test_a_call_that_will_never_pass_is_made_once():
    client = Client(refusal("AccessDeniedException"))
    assert await put(client, [envelope("a"), envelope("b")]) == [0, 1]
    assert len(client.calls) == 1


async def test_an_answer_that_tells_of_too_few_is_no_receipt():
    class Terse(Client):
        def put_events(self, *, Entries: list[Any]) -> Any:  # noqa: N803
            answer = super().put_events(Entries=Entries)
            return {**answer, "Entries": answer["Entries"][:-1]} if len(Entries) > 1 else answer

    client = Terse()
    assert await put(client, [envelope("a"), envelope("b")]) == []
    assert client.ids == [["a", "b"], ["b"]]


async def test_calls_at_once_are_bounded():
    meeting = threading.Barrier(eventbridge.CALLS_AT_ONCE, timeout=10)
    client = Client(*[meeting.wait] * (2 * eventbridge.CALLS_AT_ONCE))
    assert await put(client, [envelope(str(n)) for n in range(80)]) == []
    assert client.most_at_once == eventbridge.CALLS_AT_ONCE


async def test_nothing_is_no_call():
    client = Client()
    assert await put(client, []) == []
    assert client.calls == []


async def test_no_call_begins_when_time_is_up(monkeypatch):
    monkeypatch.setattr(eventbridge, "_PATIENCE_SECONDS", 0)
    client = Client()
    assert await put(client, [envelope("a"), envelope("b")]) == [0, 1]
    assert client.calls == []
