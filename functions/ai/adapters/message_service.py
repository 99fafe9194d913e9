"""Events of jobs, published through the message service's API under this function's role."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from pydantic import ValidationError

from contracts.ai import events as contract
from contracts.client.errors import (
    NotAllowedError,
    NotFoundError,
    RequestRefusedError,
    ServiceError,
)
from contracts.client.signing import SigV4
from contracts.messaging import publishing as wire
from contracts.messaging.client import MessageClient
from functions.ai.domain.errors import EventsUnavailableError
from functions.ai.domain.job_ports import JobChange
from functions.ai.domain.jobs import progress, result
from functions.ai.domain.turns import Turn
from servicekit.aws import current_region
from servicekit.parameters import Address, ParameterUnavailableError

_TIMEOUT_SECONDS = 30.0
"""API Gateway answers within 29 s. Given up sooner, a cold start would be paid for twice."""

_MAX_CALL_BYTES = 1_000_000
_ACCEPTED = 202
_TOO_MANY_REQUESTS = 429
_REFUSALS = range(400, 500)
_logger = logging.getLogger(__name__)


class MessageServiceJobEvents:
    """`job_ports.JobEvents` on the message service, with one client for as long as its address
    stays the same.

    What the service will never take as it is holds up no other event: it is logged, and the
    stream goes on.
    """

    def __init__(
        self, address: Address, make: Callable[[str], MessageClient] | None = None
    ) -> None:
        self._address = address
        self._make = make or _make_client
        self._client: MessageClient | None = None
        self._client_url = ""

    async def publish(self, changes: Sequence[JobChange]) -> None:
        """See `job_ports.JobEvents`."""
        for events in _calls(_events(changes)):
            await self._publish(events)

    async def _publish(self, events: Sequence[wire.EventCreate]) -> None:
        try:
            client = await self._connected()
            answer = await client.publish_batch(events)
        except (NotAllowedError, NotFoundError) as error:
            # Of our address or our rights: they can be mended, the events are as good as ever.
            raise self._unavailable(error) from None
        except RequestRefusedError as error:
            await self._publish_apart(events, error.code)
            return
        except (ServiceError, ParameterUnavailableError) as error:
            raise self._unavailable(error) from None
        results = {item.index: item for item in answer.results}
        if any(not self._settled(event, results.get(i)) for i, event in enumerate(events)):
            raise EventsUnavailableError(retry_after=1)

    async def _publish_apart(self, events: Sequence[wire.EventCreate], code: str) -> None:
        """Finds the event for which the whole call was refused."""
        if len(events) == 1:
            _log_refusal(events[0].id, code)
            return
        half = len(events) // 2
        await self._publish(events[:half])
        await self._publish(events[half:])

    def _settled(self, event: wire.EventCreate, item: wire.EventBatchItem | None) -> bool:
        """Whether nothing is left to do for the event: it is accepted, or never will be."""
        if item is None or item.status == _TOO_MANY_REQUESTS:
            return False
        if item.status in _REFUSALS:
            _log_refusal(event.id, item.error.code if item.error else f"http_{item.status}")
            return True
        return item.status == _ACCEPTED

    def _unavailable(self, error: Exception) -> EventsUnavailableError:
        _logger.warning("message service not reached", extra={"error": str(error)})
        self._address.forget()
        return EventsUnavailableError(retry_after=1)

    async def _connected(self) -> MessageClient:
        url = await self._address.get()
        if self._client is None or url != self._client_url:
            if self._client is not None:
                await self._client.aclose()
            self._client = self._make(url)
            self._client_url = url
        return self._client


def _calls(events: Sequence[wire.EventCreate]) -> Iterator[list[wire.EventCreate]]:
    """The events in their order, split into what one call should hold."""
    call: list[wire.EventCreate] = []
    size = 0
    for event in events:
        event_bytes = len(event.model_dump_json(exclude_unset=True).encode())
        if call and (len(call) == wire.MAX_BATCH_EVENTS or size + event_bytes > _MAX_CALL_BYTES):
            yield call
            call, size = [], 0
        call.append(event)
        size += event_bytes
    if call:
        yield call


def _log_refusal(event_id: str | None, code: str) -> None:
    _logger.error("an event of a job was refused", extra={"event_id": event_id, "refusal": code})


def _events(changes: Sequence[JobChange]) -> list[wire.EventCreate]:
    events = []
    for change in changes:
        try:
            events.append(_event(change))
        except ValidationError:
            _log_refusal(_event_id(change.turn), "invalid_event")
    return events


def _event(change: JobChange) -> wire.EventCreate:
    turn, job = change.turn, change.turn.job
    queued = change.before is None
    return wire.EventCreate.of(
        _queued(turn) if queued else _updated(turn),
        # Of one state of a job: told twice, it is the same event.
        event_id=_event_id(turn),
        correlation_id=turn.turn_id,
        causation_id=None if queued else _first_event_id(turn),
        ordering_key=turn.turn_id,
        user_id=turn.user_id,
        request_id=job.request_id if job else None,
        traceparent=job.traceparent if job else None,
        timestamp=turn.updated_at,
    )


def _event_id(turn: Turn) -> str:
    return f"{turn.turn_id}-{turn.attempt}-{turn.status}"


def _first_event_id(turn: Turn) -> str:
    """Of the event that the job was queued."""
    return f"{turn.turn_id}-1-queued"


def _queued(turn: Turn) -> contract.AIJobQueued:
    job = turn.job
    return contract.AIJobQueued(
        event_id=_event_id(turn),
        job_id=turn.turn_id,
        session_id=turn.session_id,
        project_id=turn.project_id,
        user_id=turn.user_id,
        priority=job.priority if job else "normal",
        created_at=turn.created_at,
        request_id=job.request_id if job else None,
        traceparent=job.traceparent if job else None,
    )


def _updated(turn: Turn) -> contract.AIJobUpdated:
    job = turn.job
    return contract.AIJobUpdated(
        event_id=_event_id(turn),
        job_id=turn.turn_id,
        session_id=turn.session_id,
        project_id=turn.project_id,
        user_id=turn.user_id,
        status=turn.status,
        progress=progress(turn),
        result=result(turn),
        error=turn.failure.code if turn.failure else None,
        updated_at=turn.updated_at,
        request_id=job.request_id if job else None,
        traceparent=job.traceparent if job else None,
    )


def _make_client(url: str) -> MessageClient:
    return MessageClient(url, auth=SigV4(region=current_region()), timeout=_TIMEOUT_SECONDS)
