"""Turns and their events as the table's items."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from functions.ai.adapters import keys
from functions.ai.adapters.session_items import to_json
from functions.ai.domain.inference import Usage
from functions.ai.domain.turns import (
    Event,
    Failure,
    Job,
    Numbered,
    RestartEvent,
    SummaryDue,
    TextEvent,
    Turn,
)
from servicekit.clock import from_text, to_text
from servicekit.dynamodb import Item

_MAX_EVENTS_BYTES = 200_000
"""Of the events in one item, which has 400 KB at most."""

_RESTART = "restart"

SUMMARY_DUE = "due"
"""Value of `summary`."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Seconds that turns and their events are kept."""

    turns: int
    events: int


def turn_item(turn: Turn, retention: Retention) -> Item:
    """A turn in its present state."""
    return {
        **keys.turn_key(turn.turn_id),
        "turn_id": turn.turn_id,
        "session_id": turn.session_id,
        "session_number": turn.session_number,
        "project_id": turn.project_id,
        "user_id": turn.user_id,
        "provider": turn.provider,
        "model": turn.model,
        "question": turn.question,
        "status": turn.status,
        "created_at": to_text(turn.created_at),
        "updated_at": to_text(turn.updated_at),
        "attempt": turn.attempt,
        "lease_expires_at": turn.lease_expires_at,
        "cancelling": turn.cancelling,
        "first_event": turn.first_event,
        "last_event": turn.last_event,
        "answer": turn.answer,
        "message_id": turn.message_id,
        "usage": to_json(asdict(turn.usage)) if turn.usage else None,
        "usage_estimated": turn.usage_estimated,
        "delivered_tokens": turn.delivered_tokens,
        "cost": turn.cost,
        "stop": turn.stop,
        "failure": to_json(asdict(turn.failure)) if turn.failure else None,
        "expires_at": int(turn.updated_at.timestamp()) + retention.turns,
        **(_job(turn.job) if turn.job else {}),
        **(_due(turn.summary) if turn.summary else {}),
        **(_queued(turn) if turn.job and turn.status == "queued" else {}),
    }


def turn_from(item: Mapping[str, Any]) -> Turn:
    """The inverse of `turn_item`."""
    return Turn(
        turn_id=item["turn_id"],
        session_id=item["session_id"],
        session_number=item["session_number"],
        project_id=item["project_id"],
        user_id=item["user_id"],
        provider=item["provider"],
        model=item["model"],
        question=item["question"],
        status=item["status"],
        created_at=from_text(item["created_at"]),
        updated_at=from_text(item["updated_at"]),
        attempt=item["attempt"],
        lease_expires_at=item["lease_expires_at"],
        cancelling=item["cancelling"],
        first_event=item["first_event"],
        last_event=item["last_event"],
        answer=item["answer"],
        message_id=item["message_id"],
        usage=Usage(**json.loads(item["usage"])) if item["usage"] else None,
        usage_estimated=item["usage_estimated"],
        delivered_tokens=item["delivered_tokens"],
        cost=item["cost"],
        stop=item["stop"],
        failure=Failure(**json.loads(item["failure"])) if item["failure"] else None,
        job=Job(item["priority"], item["request_id"], item["traceparent"])
        if "priority" in item
        else None,
        summary=SummaryDue(
            item["summary_up_to"], item["summary_request_id"], item["summary_traceparent"]
        )
        if "summary" in item
        else None,
    )


def event_items(turn: Turn, events: Sequence[Numbered], retention: Retention) -> Iterator[Item]:
    """Events that follow each other, in items as large as they may be."""
    batch: list[Any] = []
    size = 0
    for numbered in events:
        packed = _pack(numbered.event)
        needed = len(json.dumps(packed)) + 1
        if batch and size + needed > _MAX_EVENTS_BYTES:
            yield _event_item(turn, numbered.sequence - 1, batch, retention)
            batch, size = [], 0
        batch.append(packed)
        size += needed
    if batch:
        yield _event_item(turn, events[-1].sequence, batch, retention)


def events_from(item: Mapping[str, Any]) -> list[Numbered]:
    """The events of one item."""
    packed = json.loads(item["events"])
    first = item["last"] - len(packed) + 1
    return [Numbered(first + n, _unpack(event)) for n, event in enumerate(packed)]


def _job(job: Job) -> Item:
    """Attributes that no other turn has: by `priority` the stream's filter knows jobs."""
    return {
        "priority": job.priority,
        "request_id": job.request_id,
        "traceparent": job.traceparent,
    }


def _due(summary: SummaryDue) -> Item:
    """By `summary`, which no other turn has, the stream's filter knows what is due."""
    return {
        "summary": SUMMARY_DUE,
        "summary_up_to": summary.up_to,
        "summary_request_id": summary.request_id,
        "summary_traceparent": summary.traceparent,
    }


def _queued(turn: Turn) -> Item:
    """By these whoever looks after jobs finds those that wait too long."""
    since = to_text(turn.updated_at)
    return {"gsi3pk": keys.QUEUED_PK, "gsi3sk": keys.queued_sk(since, turn.turn_id)}


def _event_item(turn: Turn, last: int, batch: Sequence[Any], retention: Retention) -> Item:
    return {
        "pk": keys.turn_pk(turn.turn_id),
        "sk": keys.event_sk(last),
        "last": last,
        "attempt": turn.attempt,
        # Chunks are as their provider cut them: ASCII holds a lone half of a character, too.
        "events": json.dumps(batch, separators=(",", ":")),
        "expires_at": int(turn.created_at.timestamp()) + retention.events,
    }


def _pack(event: Event) -> Any:
    """Texts, the most of them, as they are."""
    match event:
        case TextEvent(text):
            return text
        case RestartEvent(provider, model):
            return {"type": _RESTART, "provider": provider, "model": model}


def _unpack(packed: Any) -> Event:
    if isinstance(packed, str):
        return TextEvent(packed)
    return RestartEvent(packed["provider"], packed["model"])
