"""A consumer's ports in memory, and messages as SQS brings them."""

import json
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from servicekit.bus_event import Delivery
from servicekit.clock import Clock
from servicekit.consumption import (
    INTERRUPTED,
    Attempt,
    Claim,
    Done,
    Free,
    Held,
    Report,
    ReportFailedError,
)
from servicekit.errors import StoreUnavailableError

QUEUE = "santaclaude-test-ai-projects-events"
CONSUMER = "ai-projects"
LEASE = timedelta(seconds=120)


def detail(event_id: str = "e-1", **attributes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "santaclaude.projectflow",
        "type": "project.archived",
        "time": "2026-11-22T12:00:00Z",
        "correlationid": "c-1",
        "tenant": "project:7",
        "acceptedat": "2026-11-22T12:00:01Z",
        "data": {"project_id": 7},
        **attributes,
    }


def message(
    content: Any = None,
    *,
    body: str | None = None,
    receives: int = 1,
    queue: str = QUEUE,
    message_id: str | None = None,
    replay: str | None = None,
) -> dict[str, Any]:
    """A record of an SQS event; `content` is the detail of the bus's event."""
    message_id = message_id or str(uuid.uuid4())
    event = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "project.archived",
        "source": "santaclaude.projectflow",
        "detail": detail() if content is None else content,
    }
    if replay:
        event["replay-name"] = replay
    return {
        "messageId": message_id,
        "receiptHandle": f"receipt-{message_id}-{receives}",
        "body": json.dumps(event) if body is None else body,
        "attributes": {"ApproximateReceiveCount": str(receives)},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:000000000000:{queue}",
        "awsRegion": "us-east-1",
    }


def again(record: dict[str, Any]) -> dict[str, Any]:
    """The same message, received once more."""
    receives = int(record["attributes"]["ApproximateReceiveCount"]) + 1
    return {**record, "attributes": {"ApproximateReceiveCount": str(receives)}}


def dead(record: dict[str, Any]) -> dict[str, Any]:
    """The same message, from the dead-letter queue."""
    return {**again(record), "eventSourceARN": f"{record['eventSourceARN']}-dlq"}


class Killed(BaseException):
    """The process ends here: nothing after it runs."""


class MemoryClaims:
    """`consumption.Claims`. `fails` are methods that find the table throttled; `kills` end the
    process in the method, before it has done anything, or after with `<method> done`.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.items: dict[tuple[str, str], dict[str, Any]] = {}
        self.fails: set[str] = set()
        self.kills: set[str] = set()

    async def take(self, consumer: str, key: str, message_id: str) -> Claim | Done | Held:
        self._check("take")
        now = self._clock()
        item = self.items.get((consumer, key))
        if item and item["status"] == "done":
            return Done(message_id=item["message_id"], history=tuple(item["history"]))
        history: list[Attempt] = list(item["history"]) if item else []
        if item and item["status"] == "running":
            if item["until"] > now:
                return Held(until=item["until"])
            history.append(self._lost(item))
        claim = Claim(
            consumer=consumer,
            key=key,
            token=uuid.uuid4().hex,
            attempt=(item["attempts"] if item else 0) + 1,
            message_id=message_id,
            started_at=now,
            history=tuple(history),
        )
        self.items[consumer, key] = {
            "status": "running",
            "until": now + LEASE,
            "token": claim.token,
            "attempts": claim.attempt,
            "message_id": message_id,
            "history": history,
            "started_at": now,
        }
        self._check("take done")
        return claim

    async def finish(self, claim: Claim, attempt: Attempt, *, done: bool) -> bool:
        self._check("finish")
        item = self.items[claim.consumer, claim.key]
        if item["token"] != claim.token or item["status"] != "running":
            return False
        item["status"] = "done" if done else "released"
        item["history"] = [*claim.history, attempt]
        self._check("finish done")
        return True

    async def look(self, consumer: str, key: str) -> Free | Done | Held:
        self._check("look")
        item = self.items.get((consumer, key))
        if item is None:
            return Free()
        if item["status"] == "done":
            return Done(message_id=item["message_id"], history=tuple(item["history"]))
        if item["status"] == "running":
            if item["until"] > self._clock():
                return Held(until=item["until"])
            return Free(history=(*item["history"], self._lost(item)))
        return Free(history=tuple(item["history"]))

    def _lost(self, item: dict[str, Any]) -> Attempt:
        return Attempt(
            attempt=item["attempts"],
            outcome="failed",
            error=INTERRUPTED,
            started_at=item["started_at"],
            duration_ms=0,
        )

    def _check(self, step: str) -> None:
        if step in self.kills:
            self.kills.discard(step)
            raise Killed
        if step in self.fails:
            raise StoreUnavailableError(retry_after=1)


class MemoryVisibility:
    """`consumption.Visibility`: seconds by message id."""

    def __init__(self) -> None:
        self.hidden: dict[str, int] = {}
        self.down = False

    async def hide(self, delivery: Delivery, seconds: int) -> None:
        if self.down:
            raise ConnectionError
        self.hidden[delivery.message_id] = seconds


class MemoryReporter:
    """`consumption.Reporter`: what was told, one list for each call."""

    def __init__(self) -> None:
        self.calls: list[list[Report]] = []
        self.down = False
        self.kills = False

    async def report(self, reports: Sequence[Report]) -> None:
        if self.kills:
            self.kills = False
            raise Killed
        if self.down:
            raise ReportFailedError
        self.calls.append(list(reports))

    @property
    def told(self) -> list[tuple[str, int, str, str | None]]:
        """Event, attempt, outcome and error of each, in order."""
        return [
            (r.event.event_id, r.attempt.attempt, r.attempt.outcome, r.attempt.error)
            for call in self.calls
            for r in call
        ]

    @property
    def distinct(self) -> set[tuple[str, int, str]]:
        return {(event, attempt, outcome) for event, attempt, outcome, _ in self.told}
