"""Calls the audit sink."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

from pydantic import TypeAdapter

from contracts.audit import v1
from contracts.client.errors import NotFoundError
from contracts.client.service_client import ServiceClient
from contracts.client.transport import NO_OPTIONS, Call, CallOptions

_EVENTS = "/api/v1/events"
_EXPORTS = "/api/v1/exports"
_EVENT_NOT_FOUND = "event_not_found"
_FOUND: TypeAdapter[v1.EventPage | v1.Export] = TypeAdapter(v1.EventPage | v1.Export)
_RECORDED_AT: dict[type[v1.EventReport], tuple[str, str]] = {
    v1.AuditEventCreate: ("record_event", _EVENTS),
    v1.UserEventCreate: ("record_user_event", f"{_EVENTS}/user"),
    v1.SystemEventCreate: ("record_system_event", f"{_EVENTS}/system"),
    v1.SecurityEventCreate: ("record_security_event", f"{_EVENTS}/security"),
    v1.DataEventCreate: ("record_data_event", f"{_EVENTS}/data"),
}


class AuditClient(ServiceClient):
    """The audit sink's v1 calls. An event with an `event_id`, or a call with an idempotency key,
    may be repeated when its outcome is unknown.
    """

    SERVICE = "audit-sink-service"
    ADDRESS_VARIABLE = "AUDIT_SERVICE_URL"

    async def record(
        self, event: v1.EventReport, *, options: CallOptions = NO_OPTIONS
    ) -> v1.AuditEvent:
        """Record an event of any kind. Raises `ConflictError` when its id was used before."""
        operation, path = _RECORDED_AT[type(event)]
        call = Call(operation=operation, method="POST", path=path, body=event, options=options)
        return await self._fetch(call, v1.AuditEvent)

    async def record_batch(
        self, events: Sequence[v1.AuditEventCreate], *, options: CallOptions = NO_OPTIONS
    ) -> v1.BatchResult:
        """Record up to 100 events; the result tells of each whether it is stored."""
        call = Call(
            operation="record_batch",
            method="POST",
            path=f"{_EVENTS}/batch",
            body=v1.Batch(events=list(events)),
            options=options,
        )
        return await self._fetch(call, v1.BatchResult)

    async def get(
        self, event_id: str, *, options: CallOptions = NO_OPTIONS
    ) -> v1.AuditEvent | None:
        """The event; None if there is no such event."""
        call = Call(
            operation="get_event", method="GET", path=_event_path(event_id), options=options
        )
        try:
            return await self._fetch(call, v1.AuditEvent)
        except NotFoundError as error:
            # A base URL that leads to another service must not look like a missing event.
            if error.code != _EVENT_NOT_FOUND:
                raise
            return None

    async def find(
        self,
        wanted: v1.EventFilter | None = None,
        *,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        options: CallOptions = NO_OPTIONS,
    ) -> v1.EventPage | v1.Export:
        """Events newest first; of a range that is too wide, the export that was begun."""
        narrowed = wanted.model_dump(exclude_none=True) if wanted else {}
        call = Call(
            operation="find_events",
            method="GET",
            path=_EVENTS,
            query={
                **narrowed,
                "start_time": _time(start_time),
                "end_time": _time(end_time),
                "limit": limit,
                "cursor": cursor,
            },
            options=options,
        )
        return await self._calls.fetch(call, _FOUND)

    async def recent(
        self, limit: int | None = None, *, options: CallOptions = NO_OPTIONS
    ) -> v1.RecentEvents:
        """The newest events."""
        call = Call(
            operation="recent_events",
            method="GET",
            path=f"{_EVENTS}/recent",
            query={"limit": limit},
            options=options,
        )
        return await self._fetch(call, v1.RecentEvents)

    async def stats(self, *, options: CallOptions = NO_OPTIONS) -> v1.Stats:
        """How the service stands."""
        call = Call(operation="get_stats", method="GET", path="/api/v1/stats", options=options)
        return await self._fetch(call, v1.Stats)

    async def proof(self, event_id: str, *, options: CallOptions = NO_OPTIONS) -> v1.Proof:
        """That the event is in the log. Raises `ConflictError` until it is sealed."""
        call = Call(
            operation="get_proof",
            method="GET",
            path=f"{_event_path(event_id)}/proof",
            options=options,
        )
        return await self._fetch(call, v1.Proof)

    async def latest_checkpoint(self, *, options: CallOptions = NO_OPTIONS) -> v1.Checkpoint:
        """The newest checkpoint. Raises `NotFoundError` before the first."""
        call = Call(
            operation="get_latest_checkpoint",
            method="GET",
            path="/api/v1/checkpoints/latest",
            options=options,
        )
        return await self._fetch(call, v1.Checkpoint)

    async def consistency(
        self, first: int, second: int, *, options: CallOptions = NO_OPTIONS
    ) -> v1.ConsistencyProof:
        """That the log only grew between the checkpoints of these sizes."""
        call = Call(
            operation="get_consistency",
            method="GET",
            path="/api/v1/checkpoints/consistency",
            query={"from": first, "to": second},
            options=options,
        )
        return await self._fetch(call, v1.ConsistencyProof)

    async def export(
        self, export: v1.ExportCreate, *, options: CallOptions = NO_OPTIONS
    ) -> v1.Export:
        """Have a bundle made; `get_export` tells when it is there."""
        call = Call(
            operation="create_export", method="POST", path=_EXPORTS, body=export, options=options
        )
        return await self._fetch(call, v1.Export)

    async def list_exports(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        options: CallOptions = NO_OPTIONS,
    ) -> v1.ExportPage:
        """The exports, newest first."""
        call = Call(
            operation="list_exports",
            method="GET",
            path=_EXPORTS,
            query={"limit": limit, "cursor": cursor},
            options=options,
        )
        return await self._fetch(call, v1.ExportPage)

    async def get_export(self, export_id: str, *, options: CallOptions = NO_OPTIONS) -> v1.Export:
        """How far an export is. Raises `NotFoundError`."""
        call = Call(
            operation="get_export",
            method="GET",
            path=f"{_EXPORTS}/{quote(export_id, safe='')}",
            options=options,
        )
        return await self._fetch(call, v1.Export)

    async def reconcile(
        self,
        *,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        options: CallOptions = NO_OPTIONS,
    ) -> v1.Reconciliation:
        """Which reports were counted by their producer and never arrived."""
        call = Call(
            operation="reconcile",
            method="GET",
            path="/api/v1/reconciliation",
            query={"from": _time(start_time), "to": _time(end_time)},
            options=options,
        )
        return await self._fetch(call, v1.Reconciliation)

    async def flush(self, *, options: CallOptions = NO_OPTIONS) -> v1.FlushResult:
        """Seal now what was accepted before."""
        call = Call(operation="flush", method="POST", path="/api/v1/flush", options=options)
        return await self._fetch(call, v1.FlushResult)

    async def erase_subject(
        self, user_id: int, *, options: CallOptions = NO_OPTIONS
    ) -> v1.SubjectErased:
        """Make a person's personal fields unreadable for good. Raises `NotFoundError`."""
        call = Call(
            operation="erase_subject",
            method="DELETE",
            path=f"/api/v1/subjects/{user_id}",
            options=options,
        )
        return await self._fetch(call, v1.SubjectErased)


def _event_path(event_id: str) -> str:
    return f"{_EVENTS}/{quote(event_id, safe='')}"


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
