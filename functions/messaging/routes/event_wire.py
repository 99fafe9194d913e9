"""Events of the domain as bodies of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contracts.messaging import publishing as contract
from contracts.messaging.registry import EVENT_TYPES
from contracts.messaging.streams import stream_of
from contracts.problem import Problem
from functions.messaging.domain.event_life import EventLife, LifeMoment
from functions.messaging.domain.events import Event
from functions.messaging.domain.ports import EventPage
from functions.messaging.domain.publishing import Outcome
from servicekit.errors import AppError

_ACCEPTED = 202


def accepted(event: Event) -> contract.EventAccepted:
    """The answer to who published it."""
    return contract.EventAccepted(message_id=event.event_id, correlation_id=event.correlation_id)


def batch_result(outcomes: Sequence[Outcome]) -> contract.EventBatchResult:
    """What came of each event of a batch."""
    results = [_item(index, outcome) for index, outcome in enumerate(outcomes)]
    stored = sum(isinstance(outcome, Event) for outcome in outcomes)
    return contract.EventBatchResult(
        message=f"{stored} of {len(outcomes)} events accepted", event_count=stored, results=results
    )


def summary(event: Event) -> contract.EventSummary:
    """An event in a list."""
    return contract.EventSummary(**_attributes(event))


def life(told: EventLife) -> contract.EventLife:
    """An event and all that happened to it."""
    return contract.EventLife(
        **_attributes(told.event),
        state=told.state,
        payload=told.event.data,
        moments=[_moment(moment) for moment in told.moments],
    )


def chain(page: EventPage) -> contract.EventChain:
    """A page of a chain."""
    return contract.EventChain(
        events=[summary(event) for event in page.events],
        has_more=page.next_cursor is not None,
        next_cursor=page.next_cursor,
    )


def event_types() -> contract.EventTypeList:
    """Every type that has a schema."""
    return contract.EventTypeList(
        event_types=[
            contract.EventTypeDescription(
                event_type=name,
                stream=stream_of(name),
                description=one.description,
                schema_path=one.schema_path,
                payload_schema=one.schema(),
                example=one.example,
            )
            for name, one in sorted(EVENT_TYPES.items())
        ]
    )


def _item(index: int, outcome: Outcome) -> contract.EventBatchItem:
    if isinstance(outcome, AppError):
        problem = Problem.model_validate(outcome.to_problem(None))
        return contract.EventBatchItem(index=index, status=outcome.status, error=problem)
    return contract.EventBatchItem(
        index=index,
        status=_ACCEPTED,
        message_id=outcome.event_id,
        correlation_id=outcome.correlation_id,
    )


def _attributes(event: Event) -> dict[str, Any]:
    return {
        "id": event.event_id,
        "event_type": event.event_type,
        "stream": event.stream,
        "source": event.source,
        "tenant": event.tenant,
        "correlation_id": event.correlation_id,
        "causation_id": event.causation_id,
        "ordering_key": event.ordering_key,
        "request_id": event.request_id,
        "traceparent": event.traceparent,
        "user_id": event.user_id,
        "retry_count": event.retry_count,
        "timestamp": event.occurred_at,
        "accepted_at": event.accepted_at,
        "published_at": event.published_at,
    }


def _moment(told: LifeMoment) -> contract.EventMoment:
    return contract.EventMoment(
        kind=told.kind,
        at=told.at,
        consumer=told.consumer,
        attempt=told.moment.attempt if told.moment else None,
        details=dict(told.moment.details) if told.moment else {},
    )
