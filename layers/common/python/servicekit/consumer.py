"""Consumes events of the bus from a queue, each once in effect, and reports every attempt.

What happens to a message:

1. What is for another consumer, or from a replay that this one does not take, is acknowledged.
2. The event is claimed under its id, for a lease: of two processes one works on it. A message
   whose event is another's comes back when that one's lease is over.
3. The handler is called. What it raises sends the message back, sooner or later by chance, ever
   later with each receive (exponential backoff with full jitter); the claim is let go.
4. The claim is done, for good: any other message of the event is acknowledged without the handler.
5. All attempts of an invocation are reported in one call. If that fails, the messages come again;
   the claims say what was done and the attempts are reported again, the handler is not called.

A process that dies leaves a claim whose lease ends, before the message comes again. It may have
died between the handler and step 4, so a handler does what may be done twice, or writes
`BusEvent`'s completion (`consumer_claims.DynamoClaims.completion`) in its own transaction.

What was received too often lies in the dead-letter queue, which feeds the same function: it is
reported as dead, and stays there until that has succeeded.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, EventType
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from servicekit.backoff import full_jitter
from servicekit.bus_event import BusEvent, Delivery, delivery_of, event_of
from servicekit.clock import Clock, utc_now
from servicekit.consumption import (
    MAX_REPORTS,
    Attempt,
    Claim,
    Claims,
    Done,
    Free,
    Handler,
    Handling,
    Held,
    NoReplays,
    ReplayFilter,
    Report,
    Reporter,
    ReportFailedError,
    Visibility,
)
from servicekit.context import RequestContext, choose_request_id, continue_trace, enter_context
from servicekit.errors import AppError

MAX_RECEIVES = 3
"""After so many receives a message is a dead letter: the queue's `maxReceiveCount`."""

FIRST_BACKOFF_SECONDS = 5.0
MAX_BACKOFF_SECONDS = 600.0

NEVER_HANDLED = "never_handled"
"""The error of a dead letter that no attempt was made with: its consumer does not start, or the
bus could not reach its queue.
"""

_LATER_SECONDS = 5.0
_MAX_CODE_LENGTH = 64
_logger = logging.getLogger(__name__)


class MessageFailedError(Exception):
    """The message is to come again; it has been logged."""


@dataclass(slots=True)
class _Invocation:
    """What came of the messages of one call, by message id."""

    reports: dict[str, list[Report]] = field(default_factory=dict)
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    pauses: dict[str, float] = field(default_factory=dict)


def _pause(receives: int) -> float:
    """Seconds until the next receive: anything up to a bound that doubles with each."""
    return full_jitter(receives - 1, FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS)


class _Messages(AsyncBatchProcessor):
    """Powertools' processor in the loop that is running: its own would begin another one, and
    connections belong to theirs.
    """

    async def process_all(self) -> None:
        """Gives every message to the handler, all at once."""
        await asyncio.gather(*(self._async_process_record(record) for record in self.records))


class EventConsumer:
    """One or several consumers behind one function; `names` has them by their queue's name."""

    def __init__(
        self,
        names: Mapping[str, str],
        *,
        claims: Claims,
        visibility: Visibility,
        reporter: Reporter,
        handle: Handler,
        replays: ReplayFilter | None = None,
        clock: Clock = utc_now,
        timer: Callable[[], float] = time.monotonic,
        pause: Callable[[int], float] = _pause,
        max_receives: int = MAX_RECEIVES,
    ) -> None:
        self._names = names
        self._claims = claims
        self._visibility = visibility
        self._reporter = reporter
        self._handle = handle
        self._replays = replays or NoReplays()
        self._clock = clock
        self._timer = timer
        self._pause = pause
        self._max_receives = max_receives

    async def consume(self, event: Mapping[str, Any], context: Any = None) -> dict[str, Any]:
        """The answer to an invocation by SQS: which of its messages come again."""
        invocation = _Invocation()

        async def one(record: SQSRecord) -> None:
            await self._consume(record.raw_event, invocation)

        processor = _Messages(EventType.SQS, raise_on_entire_batch_failure=False)
        with processor(event["Records"], one, lambda_context=context):
            await processor.process_all()
        items = processor.response()["batchItemFailures"]
        failed = {str(item["itemIdentifier"]) for item in items}
        failed |= await self._report(invocation, failed)
        await self._send_back(invocation, failed)
        return {"batchItemFailures": [{"itemIdentifier": one} for one in sorted(failed)]}

    async def _consume(self, record: Mapping[str, Any], invocation: _Invocation) -> None:
        delivery = delivery_of(record)
        invocation.deliveries[delivery.message_id] = delivery
        event = event_of(record)
        enter_context(
            RequestContext(
                choose_request_id(event.request_id, None), continue_trace(event.traceparent)
            )
        )
        try:
            await self._take(event, delivery, invocation)
        except MessageFailedError:
            raise
        except Exception as error:
            _logger.exception(
                "a message was not worked on",
                extra={"event_id": event.event_id, "queue": delivery.source},
            )
            raise MessageFailedError from error

    async def _take(self, event: BusEvent, delivery: Delivery, invocation: _Invocation) -> None:
        consumer = self._names[delivery.queue]
        if event.target is not None and event.target != consumer:
            return
        if event.replay_id is not None and not await self._replays.wants(event, consumer):
            return
        if delivery.dead:
            reports = await self._give_up(event, consumer, delivery, invocation)
        else:
            reports = await self._attempt(event, consumer, delivery, invocation)
        invocation.reports[delivery.message_id] = reports
        if reports[-1].attempt.outcome == "failed":
            raise MessageFailedError

    async def _attempt(
        self, event: BusEvent, consumer: str, delivery: Delivery, invocation: _Invocation
    ) -> list[Report]:
        claimed = await self._claims.take(consumer, claim_key(event), delivery.message_id)
        match claimed:
            case Held():
                raise self._later(claimed, delivery, invocation)
            case Done():
                # Its own message again: the report of what was done may be missing.
                mine = claimed.message_id == delivery.message_id
                told = claimed.history if mine else [self._duplicate(claimed)]
                return _reports(event, consumer, delivery, told)
            case Claim():
                made = await self._work(event, consumer, claimed)
                # Of the earlier ones a report may have failed, or a process died before it.
                return _reports(event, consumer, delivery, [*claimed.history, made])

    async def _work(self, event: BusEvent, consumer: str, claim: Claim) -> Attempt:
        began = self._timer()
        error: str | None = None
        try:
            event.require_detail()
            await self._handle(Handling(event, consumer, claim))
        except Exception as raised:
            error = _code(raised)
            _logger.warning(
                "an event was not handled",
                exc_info=True,
                extra={
                    "event_id": event.event_id,
                    "consumer": consumer,
                    "attempt": claim.attempt,
                    "error": error,
                },
            )
        made = Attempt(
            attempt=claim.attempt,
            outcome="failed" if error else "done",
            error=error,
            started_at=claim.started_at,
            duration_ms=round((self._timer() - began) * 1000),
        )
        if not await self._claims.finish(claim, made, done=error is None):
            _logger.warning(
                "a claim was lost while its event was worked on",
                extra={"event_id": event.event_id, "consumer": consumer},
            )
        return made

    async def _give_up(
        self, event: BusEvent, consumer: str, delivery: Delivery, invocation: _Invocation
    ) -> list[Report]:
        """What is told of a message from the dead-letter queue: nothing, if the event is done."""
        state = await self._claims.look(consumer, claim_key(event))
        match state:
            case Held():
                raise self._later(state, delivery, invocation)
            case Done():
                return _reports(event, consumer, delivery, state.history)
            case Free():
                last = state.history[-1] if state.history else None
                dead = Attempt(
                    attempt=last.attempt if last else 0,
                    outcome="dead",
                    error=(last.error if last else None) or NEVER_HANDLED,
                    started_at=self._clock(),
                    duration_ms=0,
                )
                return _reports(event, consumer, delivery, [*state.history, dead])

    def _later(self, held: Held, delivery: Delivery, invocation: _Invocation) -> MessageFailedError:
        left = max((held.until - self._clock()).total_seconds(), 0)
        spread = random.uniform(0, _LATER_SECONDS)  # noqa: S311
        invocation.pauses[delivery.message_id] = left + spread
        return MessageFailedError()

    def _duplicate(self, done: Done) -> Attempt:
        return Attempt(
            attempt=done.history[-1].attempt if done.history else 0,
            outcome="duplicate",
            started_at=self._clock(),
            duration_ms=0,
        )

    async def _report(self, invocation: _Invocation, failed: set[str]) -> set[str]:
        """Tells all attempts; returns the messages that come again because that failed."""
        reports = [report for told in invocation.reports.values() for report in told]
        if not reports:
            return set()
        try:
            for start in range(0, len(reports), MAX_REPORTS):
                await self._reporter.report(reports[start : start + MAX_REPORTS])
        except ReportFailedError:
            _logger.warning("attempts were not reported", exc_info=True)
            return {
                message_id
                for message_id, told in invocation.reports.items()
                if told and (message_id in failed or self._comes_again(message_id, invocation))
            }
        return set()

    def _comes_again(self, message_id: str, invocation: _Invocation) -> bool:
        delivery = invocation.deliveries[message_id]
        if delivery.dead or delivery.receives < self._max_receives:
            return True
        # Among the dead letters it would look as if it had not been done.
        ids = [report.event.event_id for report in invocation.reports[message_id][:1]]
        _logger.error(
            "an event is done and its attempts stay unreported",
            extra={"event_ids": ids, "queue": delivery.queue},
        )
        return False

    async def _send_back(self, invocation: _Invocation, failed: set[str]) -> None:
        await asyncio.gather(
            *(
                self._hide(
                    invocation.deliveries[message_id],
                    invocation.pauses.get(message_id)
                    or self._pause(invocation.deliveries[message_id].receives),
                )
                for message_id in failed
                if message_id in invocation.deliveries
            )
        )

    async def _hide(self, delivery: Delivery, seconds: float) -> None:
        try:
            await self._visibility.hide(delivery, math.ceil(seconds))
        except Exception:
            # It comes when the queue's own time is over.
            _logger.warning("a message could not be hidden", exc_info=True)


def claim_key(event: BusEvent) -> str:
    """What a claim on the event is made under; a replay is another event, a redrive the same."""
    return event.event_id if event.replay_id is None else f"{event.event_id}#{event.replay_id}"


def _reports(
    event: BusEvent, consumer: str, delivery: Delivery, attempts: Sequence[Attempt]
) -> list[Report]:
    return [
        Report(event=event, consumer=consumer, delivery_id=delivery.message_id, attempt=attempt)
        for attempt in attempts
    ]


def _code(error: Exception) -> str:
    name = error.code if isinstance(error, AppError) else type(error).__name__
    return name[:_MAX_CODE_LENGTH]
