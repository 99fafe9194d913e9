"""From a recorded operation to the audit sink: the real outbox, sender and client."""

import importlib
import json
import sys
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from contracts.audit.client import AuditClient
from contracts.audit.sink import AuditSink
from functions.ai.bootstrap import PRODUCER, dynamodb_storage
from servicekit.audit_outbox import DynamoOutboxReader
from servicekit.audit_sender import LEFT_BEHIND_AFTER, AuditSender, NotDeliveredError
from servicekit.clock import utc_now
from servicekit.dynamodb import to_attributes
from tests.fakes.ai_app import SETTINGS, AiService, chat_body

pytestmark = pytest.mark.anyio


class Sink:
    """The audit sink behind HTTP: an event id is stored once; `down` answers 503."""

    def __init__(self) -> None:
        self.events: dict[str, str] = {}
        self.down = False
        self.refused: set[int] = set()

    def handle(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            return httpx.Response(503)
        results = []
        for index, event in enumerate(json.loads(request.content)["events"]):
            known = self.events.get(event["event_id"])
            assert known in {None, json.dumps(event)}, "one id for two events"
            if event["sequence"] in self.refused:
                results.append({"index": index, "status": 413})
                continue
            self.events[event["event_id"]] = json.dumps(event)
            results.append({"index": index, "status": 200 if known else 201})
        body = {"message": "", "event_count": len(results), "results": results}
        return httpx.Response(200, json=body)


class Address:
    async def get(self) -> str:
        return "http://127.0.0.1:1/live"

    def forget(self) -> None:
        return


class Figures:
    def __init__(self) -> None:
        self.last: dict[str, float] = {}

    async def put(self, values):
        self.last = dict(values)


class World:
    """The AI service over DynamoDB, its sender, and a sink."""

    def __init__(self, table, make_client, make_s3) -> None:
        self.storage = dynamodb_storage(SETTINGS, make_client, make_s3)
        self.service = AiService(storage=self.storage)
        self.client = make_client()
        self.sink = Sink()
        self.figures = Figures()
        self.outbox = DynamoOutboxReader(table, PRODUCER)
        self.ahead = timedelta()
        self.sender = AuditSender(
            self.outbox, AuditSink(Address(), self._connect), self.figures, self._now
        )

    def _now(self) -> datetime:
        return utc_now() + self.ahead

    def _connect(self, url: str) -> AuditClient:
        return AuditClient(url, transport=httpx.MockTransport(self.sink.handle))

    async def waiting(self):
        return [i for p in self.outbox.producers for i in await self.outbox.after(p, 0, 1_000)]

    def later(self) -> None:
        self.ahead = LEFT_BEHIND_AFTER + timedelta(seconds=1)

    async def work(self) -> int:
        """Operations of every kind; returns how many."""
        session_id = (await self.service.new_session())["session_id"]
        await self.service.call("GET", f"/api/v1/sessions/{session_id}")
        await self.service.call("POST", "/api/v1/chat", chat_body(session_id=session_id))
        await self.service.call("POST", "/api/v1/chat", chat_body(session_id="nothing"))
        await self.service.call("DELETE", f"/api/v1/sessions/{session_id}")
        return 5


@pytest.fixture
def world(table, make_client, make_s3):
    # Times of the service are those of its clock, which the sweep compares with.
    world = World(table, make_client, make_s3)
    world.service.clock.now = utc_now()
    yield world
    world.storage.close()


async def test_every_operation_arrives_once(world):
    done = await world.work()
    items = await world.waiting()
    assert len(items) == done
    await world.sender.deliver(items)
    assert await world.waiting() == []
    assert len(world.sink.events) == done
    outcomes = [json.loads(event)["metadata"]["outcome"] for event in world.sink.events.values()]
    assert sorted(outcomes) == ["allowed"] * (done - 1) + ["denied"]


async def test_a_crash_between_sending_and_removing_doubles_nothing(world, monkeypatch):
    done = await world.work()

    async def die(_items):
        raise ConnectionError

    with monkeypatch.context() as crash:
        crash.setattr(world.outbox, "remove", die)
        with pytest.raises(ConnectionError):
            await world.sender.deliver(await world.waiting())
    assert len(await world.waiting()) == len(world.sink.events) == done
    world.later()
    await world.sender.sweep(60)
    assert await world.waiting() == []
    assert len(world.sink.events) == done


async def test_a_sink_that_was_down_gets_everything(world):
    world.sink.down = True
    done = await world.work()
    with pytest.raises(NotDeliveredError):
        await world.sender.deliver(await world.waiting())
    world.later()
    await world.sender.sweep(60)
    assert world.figures.last["AuditOutboxOldestSeconds"] > 120
    world.sink.down = False
    await world.sender.sweep(60)
    assert world.figures.last == {"AuditOutboxOldestSeconds": 0.0, "AuditOutboxRefused": 0.0}
    assert len(world.sink.events) == done


async def test_what_the_sink_refuses_stays_with_its_reason(world):
    await world.work()
    world.sink.refused = {2}
    await world.sender.deliver(await world.waiting())
    (left,) = await world.waiting()
    assert (left.sequence, left.refused) == (2, "http_413")
    world.later()
    await world.sender.sweep(60)
    assert world.figures.last["AuditOutboxRefused"] == 1


async def test_a_half_deleted_session_can_be_deleted_again(world, monkeypatch):
    """Recorded as what it is: the owner's deletion, not a refusal."""
    session_id = (await world.service.new_session())["session_id"]
    with monkeypatch.context() as crash:
        crash.setattr(world.storage.sessions, "_delete_messages", None)
        await world.service.call("DELETE", f"/api/v1/sessions/{session_id}")
    again = await world.service.call("DELETE", f"/api/v1/sessions/{session_id}")
    assert again.status_code == 200
    outcomes = [item.event["metadata"]["outcome"] for item in await world.waiting()]
    assert outcomes == ["allowed"] * 3


def test_the_handler_delivers_the_streams_batches_and_sweeps_otherwise(monkeypatch):
    calls: list[Any] = []

    class Sender:
        async def deliver(self, items):
            calls.append([item.sequence for item in items])

        async def sweep(self, seconds):
            calls.append(seconds)

    monkeypatch.setattr("functions.ai.bootstrap.audit_from_environment", Sender)
    monkeypatch.delitem(sys.modules, "functions.ai.entrypoints.audit", raising=False)
    entrypoint = importlib.import_module("functions.ai.entrypoints.audit")
    image = {
        "pk": "AUDITOUT#ai:00",
        "sk": f"{7:016}",
        "producer": "ai:00",
        "sequence": 7,
        "event": "{}",
        "recorded_at": "2026-11-22T12:00:00.000000Z",
    }
    entrypoint.handler({"Records": [{"dynamodb": {"NewImage": to_attributes(image)}}]}, None)
    entrypoint.handler({"version": "0"}, None)
    entrypoint._runner.close()
    monkeypatch.delitem(sys.modules, "functions.ai.entrypoints.audit")
    assert calls[0] == [7]
    assert calls[1] > 0
