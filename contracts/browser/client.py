"""Calls the browser pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter

from contracts.browser import sessions as wire
from contracts.browser.steps import AnyStep, BatchResult, StepBatch
from contracts.client.errors import NotFoundError
from contracts.client.service_client import ServiceClient
from contracts.client.transport import NO_OPTIONS, Call, CallOptions

_SESSIONS = "/api/v1/sessions"
_SESSION_NOT_FOUND = "session_not_found"
_LIST = TypeAdapter(list[wire.BrowserSession])

Steps = Sequence[AnyStep | Mapping[str, Any]]
"""Steps, or what would make them."""


class BrowserPoolClient(ServiceClient):
    """The browser pool's v1 calls.

    A batch is never repeated by the client: whoever gets a `ServiceError` without an answer reads
    the session before going on.
    """

    SERVICE = "browser-pool-service"
    ADDRESS_VARIABLE = "BROWSER_SERVICE_URL"

    async def create_session(
        self,
        session: wire.SessionCreate | None = None,
        *,
        options: CallOptions = NO_OPTIONS,
    ) -> wire.BrowserSession:
        """Open a session. Raises `RateLimitedError` where a limit is reached."""
        call = Call(
            operation="create_session",
            method="POST",
            path=_SESSIONS,
            body=session or wire.SessionCreate(),
            options=options,
        )
        return await self._fetch(call, wire.BrowserSession)

    async def list_sessions(
        self, *, options: CallOptions = NO_OPTIONS
    ) -> list[wire.BrowserSession]:
        """The caller's open sessions, oldest first."""
        call = Call(operation="list_sessions", method="GET", path=_SESSIONS, options=options)
        return await self._calls.fetch(call, _LIST)

    async def get_session(
        self, session_id: str, *, options: CallOptions = NO_OPTIONS
    ) -> wire.BrowserSession | None:
        """The session; None if it has ended, or there never was one."""
        call = Call(
            operation="get_session", method="GET", path=_session(session_id), options=options
        )
        try:
            return await self._fetch(call, wire.BrowserSession)
        except NotFoundError as error:
            # A base URL that leads to another service must not look like a missing session.
            if error.code != _SESSION_NOT_FOUND:
                raise
            return None

    async def delete_session(self, session_id: str, *, options: CallOptions = NO_OPTIONS) -> None:
        """End a session. Raises `NotFoundError`."""
        call = Call(
            operation="delete_session",
            method="DELETE",
            path=_session(session_id),
            options=options,
        )
        await self._fetch(call, wire.Done)

    async def run(
        self, session_id: str, steps: Steps, *, options: CallOptions = NO_OPTIONS, **batch: Any
    ) -> BatchResult:
        """Do a batch of steps; `batch` is what else `StepBatch` says: `on_error`, `require`,
        `dialogs`.

        Raises `NotFoundError`, and `ConflictError` while another batch is in flight or where the
        live browser was required and is gone.
        """
        given = [step if isinstance(step, Mapping) else step.model_dump() for step in steps]
        call = Call(
            operation="run_steps",
            method="POST",
            path=f"{_session(session_id)}/steps",
            body=StepBatch.model_validate({"steps": given, **batch}),
            options=options,
        )
        return await self._fetch(call, BatchResult)

    async def run_task(
        self, task: wire.TaskRequest, *, options: CallOptions = NO_OPTIONS
    ) -> wire.TaskResult:
        """Pictures, PDF, content or links of a page, in a session that ends with the call.

        Raises `ServiceProblemError` where the page is not reached.
        """
        call = Call(
            operation="run_task",
            method="POST",
            path="/api/v1/tasks",
            body=task,
            options=options,
        )
        return await self._fetch(call, wire.TaskResult)

    async def list_artifacts(
        self,
        session_id: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        options: CallOptions = NO_OPTIONS,
    ) -> wire.ArtifactPage:
        """Files that steps made, with links for an hour at most."""
        call = Call(
            operation="list_artifacts",
            method="GET",
            path=f"{_session(session_id)}/artifacts",
            query={"limit": limit, "cursor": cursor},
            options=options,
        )
        return await self._fetch(call, wire.ArtifactPage)

    async def stats(self, *, options: CallOptions = NO_OPTIONS) -> wire.Stats:
        """How the pool stands, with the caller's sessions."""
        call = Call(operation="get_stats", method="GET", path="/api/v1/stats", options=options)
        return await self._fetch(call, wire.Stats)


def _session(session_id: str) -> str:
    return f"{_SESSIONS}/{quote(session_id, safe='')}"
