"""Events of jobs, on the environment's bus."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from contracts.ai import events as contract
from functions.ai.adapters.entries import put_all
from functions.ai.domain.errors import EventsUnavailableError
from functions.ai.domain.job_ports import JobChange
from functions.ai.domain.jobs import progress, result
from functions.ai.domain.turns import Turn
from servicekit.aws import LazyClient, guarded, make_client

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

_CONNECT_SECONDS = 2
_READ_SECONDS = 5
_logger = logging.getLogger(__name__)


class EventBridgeJobEvents:
    """`job_ports.JobEvents` on EventBridge."""

    def __init__(self, bus: str, make: Callable[[], EventBridgeClient] | None = None) -> None:
        self._bus = bus
        self._client: LazyClient[EventBridgeClient] = LazyClient(make or _make_client)

    async def publish(self, changes: Sequence[JobChange]) -> None:
        """See `job_ports.JobEvents`."""
        entries = [self._entry(change) for change in changes]
        if await put_all(entries, self._put):
            raise EventsUnavailableError(retry_after=1)

    def _entry(self, change: JobChange) -> PutEventsRequestEntryTypeDef:
        event = _queued(change.turn) if change.before is None else _updated(change.turn)
        return {
            "EventBusName": self._bus,
            "Source": contract.SOURCE,
            "DetailType": event.event_type,
            "Detail": event.model_dump_json(),
            "Time": change.turn.updated_at,
        }

    def _put(self, entries: Sequence[PutEventsRequestEntryTypeDef]) -> list[int]:
        answer = guarded(
            "the bus",
            EventsUnavailableError,
            lambda: self._client.get().put_events(Entries=list(entries)),
        )
        # An answer of 200 says nothing about the entries: each tells for itself.
        refused = [n for n, entry in enumerate(answer["Entries"]) if "ErrorCode" in entry]
        if refused:
            codes = sorted({answer["Entries"][n]["ErrorCode"] for n in refused})
            _logger.warning(
                "the bus refused entries", extra={"entries": len(refused), "aws_codes": codes}
            )
        return refused


def _event_id(turn: Turn) -> str:
    """Of one state of a job: told twice, it has the same id."""
    return f"{turn.turn_id}-{turn.attempt}-{turn.status}"


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


def _make_client() -> EventBridgeClient:
    client: EventBridgeClient = make_client(
        "events",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return client
