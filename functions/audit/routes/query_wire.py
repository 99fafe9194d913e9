"""Queries and answers of the reading routes: the contract's models to and from the domain's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from contracts.audit import v1
from contracts.audit.audit_verify import Key
from functions.audit.domain import models
from functions.audit.domain.exports import ExportPage, ExportView
from functions.audit.domain.models import JsonObject
from functions.audit.domain.query import EventPage
from functions.audit.domain.reconciliation import ProducerReport
from functions.audit.domain.stats import Stats
from functions.audit.routes.wire import event

STORES = ("dynamodb", "s3")
"""Where records lie: table and archive."""

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _moment(value: object) -> datetime:
    """A time as it must be written: pydantic takes numbers and bare days as well."""
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise PydanticCustomError("rfc_3339", "Input should be a time as RFC 3339 writes it")


Moment = Annotated[datetime, BeforeValidator(_moment)]


class FindQuery(v1.EventFilter):
    """The query string of GET /events."""

    start_time: Moment | None = None
    end_time: Moment | None = None
    limit: Annotated[int, Field(ge=1, le=v1.MAX_PAGE_LIMIT)] = v1.DEFAULT_PAGE_LIMIT
    cursor: Annotated[str | None, Field(min_length=1, max_length=v1.MAX_CURSOR_LENGTH)] = None


def filter_of(asked: v1.EventFilter) -> models.Filter:
    """What is asked for, in the domain's terms."""
    return models.Filter(**{name: getattr(asked, name) for name in v1.EventFilter.model_fields})


def event_page(page: EventPage) -> v1.EventPage:
    """A page of events."""
    return v1.EventPage(
        events=[event(found) for found in page.events],
        has_more=page.next_cursor is not None,
        next_cursor=page.next_cursor,
    )


def recent_events(found: Sequence[JsonObject]) -> v1.RecentEvents:
    """The newest events."""
    return v1.RecentEvents(
        events=[event(item) for item in found],
        count=len(found),
        note="The newest events first; GET /api/v1/events pages through all of them.",
    )


def stats(current: Stats) -> v1.Stats:
    """How the service stands."""
    return v1.Stats(
        buffer_size=current.pending,
        buffer_max_size=v1.MAX_BATCH_EVENTS,
        backends_count=len(STORES),
        storage_backend="+".join(STORES),
        last_flush_time=current.sealed_at,
        running=current.sealing,
        tree_size=current.sealed,
        oldest_pending_at=current.oldest_pending_at,
    )


def export(view: ExportView) -> v1.Export:
    """An export, with a link when it is complete."""
    made = view.export
    return v1.Export(
        export_id=made.export_id,
        status=made.status,
        start_time=made.span.start,
        end_time=made.span.end,
        filter={name: value for name, value in asdict(made.filter).items() if value is not None},
        requested_by=made.requested_by,
        created_at=made.created_at,
        updated_at=made.updated_at,
        expires_at=made.expires_at,
        records=made.records,
        proven=made.proven,
        size_bytes=made.size_bytes,
        download_url=view.link,
        error=made.error,
    )


def export_page(page: ExportPage) -> v1.ExportPage:
    """A page of exports; each by itself has the link."""
    return v1.ExportPage(
        exports=[export(ExportView(made, None)) for made in page.exports],
        has_more=page.next_cursor is not None,
        next_cursor=page.next_cursor,
    )


def reconciliation(reports: Sequence[ProducerReport]) -> v1.Reconciliation:
    """Whether everything that was counted has arrived."""
    return v1.Reconciliation(
        complete=all(report.complete for report in reports),
        producers=[
            v1.ProducerCompleteness(
                producer=report.producer,
                through=report.through,
                through_at=report.through_at,
                complete=report.complete,
                gaps=[
                    v1.SequenceGap(
                        first=gap.first, last=gap.last, after=gap.after, before=gap.before
                    )
                    for gap in report.gaps
                ],
            )
            for report in reports
        ],
    )


def proof(made: models.InclusionProof) -> v1.Proof:
    """That an event is in the log."""
    return v1.Proof(
        event_id=made.event_id,
        record=made.record.decode(),
        leaf_index=made.leaf_index,
        leaf_hash=made.leaf_hash.hex(),
        tree_size=made.tree_size,
        path=[node.hex() for node in made.path],
        checkpoint=made.checkpoint,
    )


def consistency(made: models.ConsistencyProof) -> v1.ConsistencyProof:
    """That the log only grew."""
    return v1.ConsistencyProof(
        first=made.first,
        second=made.second,
        path=[node.hex() for node in made.path],
        first_checkpoint=made.first_checkpoint,
        second_checkpoint=made.second_checkpoint,
    )


def checkpoint(newest: models.Checkpoint, key: Key) -> v1.Checkpoint:
    """A signed statement of size and root."""
    return v1.Checkpoint(
        size=newest.size,
        root_hash=newest.root.hex(),
        checkpoint=newest.text,
        sealed_at=newest.sealed_at,
        public_key=key.vkey,
    )
