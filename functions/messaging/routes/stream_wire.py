"""Dead letters, redrives, replays and figures: the contract's models to and from the domain's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

from contracts.messaging import dead_letters as letters
from contracts.messaging import figures as wire
from contracts.messaging import replays as replay_wire
from contracts.messaging.deliveries import Outcome
from contracts.messaging.streams import ROUTED_TYPES, dead_letters_of, stream_of
from functions.messaging.domain import figures
from functions.messaging.domain.letters import LetterFilter
from functions.messaging.domain.life import Moment
from functions.messaging.domain.redrives import (
    Preview,
    Redrive,
    RedrivePage,
    ShownLetter,
    ShownPage,
)
from functions.messaging.domain.replays import Replay, ReplayPage


def filter_of(asked: letters.DeadLetterFilter) -> LetterFilter:
    """Which letters are asked for."""
    return LetterFilter(
        event_type=asked.type,
        tenant=asked.tenant,
        consumer=asked.consumer,
        error=asked.error,
        older_than=asked.older_than,
        newer_than=asked.newer_than,
    )


def dead_letter(shown: ShownLetter) -> letters.DeadLetter:
    """A letter, with why."""
    letter = shown.shelved.letter
    return letters.DeadLetter(
        event_id=letter.event_id,
        event_type=letter.event_type,
        tenant=letter.tenant,
        stream=letter.stream,
        consumer=letter.consumer,
        error=letter.error,
        attempts=letter.attempts,
        redrives=letter.redrives,
        died_at=letter.died_at,
        first_died_at=shown.shelved.first_died_at,
        history=[_attempt(moment) for moment in shown.history],
        event_url=f"/api/v1/events/{letter.event_id}",
    )


def dead_letters(stream: str, page: ShownPage) -> letters.DeadLetterPage:
    """A page of letters."""
    return letters.DeadLetterPage(
        stream=stream,
        dead_letter_queue=dead_letters_of(stream),
        dead_letters=[dead_letter(shown) for shown in page.letters],
        has_more=page.next_cursor is not None,
        next_cursor=page.next_cursor,
    )


def dry_run(preview: Preview) -> letters.DryRun:
    """What a redrive would send."""
    return letters.DryRun(
        stream=preview.stream,
        matched=preview.matched,
        counts=[
            letters.LetterCount(event_type=event_type, consumer=consumer, error=error, count=count)
            for (event_type, consumer, error), count in preview.counts.items()
        ],
        samples=[dead_letter(shown) for shown in preview.samples],
    )


def redrive(made: Redrive) -> letters.Redrive:
    """A redrive and how far it is."""
    wanted = asdict(made.filter)
    given = {name: value for name, value in wanted.items() if value is not None}
    if "event_type" in given:
        given["type"] = given.pop("event_type")
    return letters.Redrive(
        id=made.redrive_id,
        stream=made.stream,
        state=made.state,
        filter=letters.DeadLetterFilter(**given),
        rate=made.rate,
        counts=letters.RedriveCounts(sent=made.sent, failed=made.failed),
        requested_by=made.requested_by,
        created_at=made.created_at,
        updated_at=made.updated_at,
        finished_at=made.finished_at,
        error=made.error,
    )


def redrives(page: RedrivePage) -> letters.RedrivePage:
    """A page of redrives."""
    return letters.RedrivePage(
        redrives=[redrive(made) for made in page.redrives],
        has_more=page.next_cursor is not None,
        next_cursor=page.next_cursor,
    )


def replay(made: Replay) -> replay_wire.Replay:
    """A replay and how far it is."""
    return replay_wire.Replay(
        id=made.replay_id,
        stream=made.stream,
        types=list(made.types) if made.types else None,
        start=made.start,
        end=made.end,
        state=made.state,
        replayed_until=made.replayed_until,
        requested_by=made.requested_by,
        created_at=made.created_at,
        finished_at=made.finished_at,
        error=made.error,
    )


def replays(page: ReplayPage) -> replay_wire.ReplayPage:
    """A page of replays."""
    return replay_wire.ReplayPage(
        replays=[replay(made) for made in page.replays],
        has_more=page.next_cursor is not None,
        next_cursor=page.next_cursor,
    )


def stream(found: figures.StreamFigures) -> wire.StreamFigures:
    """How a stream stands."""
    return wire.StreamFigures(
        name=found.name,
        event_types=list(found.event_types),
        depth=found.depth.waiting,
        in_flight=found.depth.in_flight,
        delayed=found.depth.delayed,
        oldest_age_seconds=found.oldest_age,
        dead_letters=found.dead_letters,
        dead_letter_queue=dead_letters_of(found.name),
        undelivered_dead_letters=found.undelivered_dead_letters,
        consumers=[
            wire.Consumer(name=one.name, last_seen_at=one.last_seen_at) for one in found.consumers
        ],
    )


def stats(found: Sequence[figures.StreamFigures]) -> wire.Stats:
    """How the service stands."""
    ages = [one.oldest_age for one in found if one.oldest_age is not None]
    groups = {one.name for one in found}
    groups |= {consumer.name for one in found for consumer in one.consumers}
    return wire.Stats(
        running=True,
        streams_count=len(found),
        consumer_groups_count=len(groups),
        event_types=sorted(ROUTED_TYPES),
        stream_mapping={event_type: stream_of(event_type) for event_type in sorted(ROUTED_TYPES)},
        depth=sum(one.depth.waiting for one in found),
        in_flight=sum(one.depth.in_flight for one in found),
        dead_letters=sum(one.dead_letters for one in found),
        oldest_age_seconds=max(ages) if ages else None,
        streams=[stream(one) for one in found],
    )


def _attempt(moment: Moment) -> letters.LetterAttempt:
    details = moment.details
    error = details.get("error")
    duration = details.get("duration_ms") or 0
    return letters.LetterAttempt(
        attempt=moment.attempt or 0,
        outcome=cast("Outcome", details.get("outcome") or ("failed" if error else "done")),
        error=None if error is None else str(error),
        started_at=moment.at,
        duration_ms=int(duration),
    )
