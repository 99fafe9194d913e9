"""From a consumer's attempt to the message service's table: the real client over the real app."""

import httpx
import pytest

from contracts.messaging.client import MessageClient
from contracts.messaging.reporter import MessageReporter
from servicekit.consumer import EventConsumer
from servicekit.errors import StoreUnavailableError
from servicekit.parameters import ParameterUnavailableError
from tests.fakes.consuming import (
    QUEUE,
    MemoryClaims,
    MemoryVisibility,
    again,
    dead,
    detail,
    message,
)
from tests.fakes.messaging_events import MessageService

pytestmark = pytest.mark.anyio

ROLE = "arn:aws:sts::000000000000:assumed-role/santaclaude-prod-ai-projects/session"


class Address:
    def __init__(self):
        self.forgotten = 0
        self.known = True

    async def get(self):
        if not self.known:
            raise ParameterUnavailableError
        return "http://messaging"

    def forget(self):
        self.forgotten += 1


class Harness:
    def __init__(self, consumer="ai-projects"):
        self.service = MessageService()
        self.address = Address()
        self.visibility = MemoryVisibility()
        self.error = None
        self.handled = 0
        self.statuses = []
        self.down = False
        self.consumer = EventConsumer(
            {QUEUE: consumer},
            claims=MemoryClaims(self.service.clock),
            visibility=self.visibility,
            reporter=MessageReporter(self.address, self.client),
            handle=self.handle,
            clock=self.service.clock,
        )

    def client(self, url):
        async def gateway(scope, receive, send):
            identity = {"identity": {"userArn": ROLE}}
            await self.service.publish_app(
                {**scope, "aws.event": {"requestContext": identity}}, receive, send
            )

        class Transport(httpx.ASGITransport):
            async def handle_async_request(inner, request):  # noqa: N805
                if self.down:
                    raise httpx.ConnectError("down")
                return await super().handle_async_request(request)

        return MessageClient(url, transport=Transport(app=gateway))

    async def handle(self, _handling):
        self.handled += 1
        if self.error:
            raise self.error

    async def get(self, *records):
        answer = await self.consumer.consume({"Records": list(records)})
        return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


async def test_every_attempt_of_a_batch_arrives():
    harness = Harness()
    assert await harness.get(*(message(detail(f"e-{n}")) for n in range(10))) == []
    assert len(harness.service.life.moments) == 10
    (moment,) = await harness.service.life.of("e-3")
    assert (moment.consumer, moment.attempt) == ("ai-projects", 1)


async def test_a_dead_event_is_a_letter_that_tells_why():
    harness = Harness()
    harness.error = ValueError("a person's words")
    record = message()
    for _ in range(3):
        assert await harness.get(record) == [record["messageId"]]
        record = again(record)
    assert await harness.get(dead(record)) == []
    (shelved,) = harness.service.letters.shelved["project-events"].values()
    letter = shelved.letter
    assert (letter.error, letter.attempts, letter.tenant) == ("ValueError", 3, "project:7")
    assert letter.delivery_id == record["messageId"]


async def test_a_service_that_is_down_loses_and_doubles_nothing():
    harness = Harness()
    harness.down = True
    record = message()
    assert await harness.get(record) == [record["messageId"]]
    assert harness.address.forgotten == 1
    harness.down = False
    assert await harness.get(again(record)) == []
    assert harness.handled == 1
    assert len(await harness.service.life.of("e-1")) == 1


async def test_an_address_that_nobody_knows_is_asked_for_again():
    harness = Harness()
    harness.address.known = False
    record = message()
    assert await harness.get(record) == [record["messageId"]]
    harness.address.known = True
    assert await harness.get(again(record)) == []


async def test_a_refused_report_has_failed():
    """The name of a consumer that is not its service's is a mistake to be seen, not passed over."""
    harness = Harness(consumer="browser-projects")
    record = message()
    assert await harness.get(record) == [record["messageId"]]
    assert harness.service.life.moments == {}


async def test_a_throttled_message_service_is_told_again():
    harness = Harness()

    async def throttled(_moments):
        raise StoreUnavailableError(retry_after=1)

    real, harness.service.life.append = harness.service.life.append, throttled
    record = message()
    assert await harness.get(record) == [record["messageId"]]
    harness.service.life.append = real
    assert await harness.get(again(record)) == []
    assert len(await harness.service.life.of("e-1")) == 1
