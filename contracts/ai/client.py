"""Calls the AI service."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import date
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from contracts.ai import jobs, money, routing, turns, v1
from contracts.client.errors import InvalidAnswerError, NotFoundError, StreamInterruptedError
from contracts.client.service_client import ServiceClient
from contracts.client.sse import MalformedStreamError, data_lines
from contracts.client.transport import NO_OPTIONS, Call, CallOptions
from contracts.operation import EVENT_STREAM_MEDIA_TYPE

_END_OF_STREAM = "[DONE]"
_END = "end"
_NO_SUCH_ROUTE = "not_found"
_PROVIDERS = TypeAdapter(list[v1.Provider])
_MODELS = TypeAdapter(list[v1.Model])


class AIServiceClient(ServiceClient):
    """The AI service's v1 calls."""

    SERVICE = "ai-service"
    ADDRESS_VARIABLE = "AI_SERVICE_URL"
    TIMEOUT_SECONDS = 60.0

    async def list_providers(self, *, options: CallOptions = NO_OPTIONS) -> list[v1.Provider]:
        """All providers."""
        call = Call(
            operation="list_providers", method="GET", path="/api/v1/providers", options=options
        )
        return await self._calls.fetch(call, _PROVIDERS)

    async def list_models(
        self, provider_id: int | None = None, *, options: CallOptions = NO_OPTIONS
    ) -> list[v1.Model]:
        """The models, of one provider or all."""
        call = Call(
            operation="list_models",
            method="GET",
            path="/api/v1/models",
            query={"provider_id": provider_id},
            options=options,
        )
        return await self._calls.fetch(call, _MODELS)

    async def create_session(
        self, session: v1.SessionCreate, user_id: int, *, options: CallOptions = NO_OPTIONS
    ) -> v1.Session:
        """Start a session; calls no model."""
        call = Call(
            operation="create_session",
            method="POST",
            path="/api/v1/sessions",
            query={"user_id": user_id},
            body=session,
            options=options,
        )
        return await self._fetch(call, v1.Session)

    async def list_sessions(
        self,
        *,
        project_id: int | None = None,
        user_id: int | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        options: CallOptions = NO_OPTIONS,
    ) -> v1.SessionPage:
        """A project's or a user's sessions, newest first; one of the two ids is required."""
        call = Call(
            operation="list_sessions",
            method="GET",
            path="/api/v1/sessions",
            query={
                "project_id": project_id,
                "user_id": user_id,
                "limit": limit,
                "cursor": cursor,
            },
            options=options,
        )
        return await self._fetch(call, v1.SessionPage)

    async def get_session(
        self, session_id: str, *, options: CallOptions = NO_OPTIONS
    ) -> v1.Session | None:
        """The session with its messages; None if there is no such session."""
        call = Call(
            operation="get_session", method="GET", path=_session_path(session_id), options=options
        )
        try:
            return await self._fetch(call, v1.Session)
        except NotFoundError as error:
            # A base URL that leads to another service must not look like a missing session.
            if error.code == _NO_SUCH_ROUTE:
                raise
            return None

    async def update_session(
        self, session_id: str, update: v1.SessionUpdate, *, options: CallOptions = NO_OPTIONS
    ) -> v1.Session:
        """Change the session's status, context or card. Raises `NotFoundError`."""
        call = Call(
            operation="update_session",
            method="PATCH",
            path=_session_path(session_id),
            body=update,
            options=options,
        )
        return await self._fetch(call, v1.Session)

    async def delete_session(self, session_id: str, *, options: CallOptions = NO_OPTIONS) -> None:
        """Delete the session and its messages. Raises `NotFoundError`."""
        call = Call(
            operation="delete_session",
            method="DELETE",
            path=_session_path(session_id),
            options=options,
        )
        await self._fetch(call, v1.SessionDeleted)

    async def list_messages(
        self,
        session_id: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        options: CallOptions = NO_OPTIONS,
    ) -> v1.MessagePage:
        """The session's messages, oldest first. Raises `NotFoundError`."""
        call = Call(
            operation="list_messages",
            method="GET",
            path=f"{_session_path(session_id)}/messages",
            query={"limit": limit, "cursor": cursor},
            options=options,
        )
        return await self._fetch(call, v1.MessagePage)

    async def add_message(
        self, session_id: str, message: v1.MessageCreate, *, options: CallOptions = NO_OPTIONS
    ) -> v1.Message:
        """Add a message; calls no model. Raises `NotFoundError`."""
        call = Call(
            operation="add_message",
            method="POST",
            path=f"{_session_path(session_id)}/messages",
            body=message,
            options=options,
        )
        return await self._fetch(call, v1.Message)

    async def chat(
        self, request: v1.ChatRequest, *, options: CallOptions = NO_OPTIONS
    ) -> v1.ChatResponse:
        """Send a message and wait for the whole answer, whatever `request.stream` says."""
        call = Call(
            operation="chat",
            method="POST",
            path="/api/v1/chat",
            body=request.model_copy(update={"stream": False}),
            options=options,
        )
        return await self._fetch(call, v1.ChatResponse)

    async def chat_stream(
        self, request: v1.ChatRequest, *, options: CallOptions = NO_OPTIONS
    ) -> AsyncGenerator[v1.StreamingChatChunk, None]:
        """Send a message and get the answer's chunks as they come.

        A failure that the service saw after the first byte is a finished chunk with `error`: it is
        given to the caller like any other. A stream that ends without its end mark raises
        `StreamInterruptedError`. To leave early, close the iterator (`contextlib.aclosing`).
        """
        call = Call(
            operation="chat_stream",
            method="POST",
            path="/api/v1/chat/stream",
            body=request.model_copy(update={"stream": True}),
            options=options,
        )
        async with self._calls.stream(call, EVENT_STREAM_MEDIA_TYPE) as chunks:
            try:
                async for line in data_lines(chunks):
                    if line == _END_OF_STREAM:
                        return
                    yield v1.StreamingChatChunk.model_validate_json(line)
            except (MalformedStreamError, ValidationError) as error:
                reason = f"not a chunk: {type(error).__name__}"
                raise InvalidAnswerError(self.SERVICE, call.operation, reason) from None
        raise StreamInterruptedError(self.SERVICE, "chat_stream", "the stream ended before [DONE]")

    async def get_turn(self, turn_id: str, *, options: CallOptions = NO_OPTIONS) -> turns.Turn:
        """What became of a turn. Raises `NotFoundError`."""
        call = Call(operation="get_turn", method="GET", path=_turn_path(turn_id), options=options)
        return await self._fetch(call, turns.Turn)

    async def cancel_turn(self, turn_id: str, *, options: CallOptions = NO_OPTIONS) -> turns.Turn:
        """Ask a turn to stop; it keeps what was said. Raises `NotFoundError`."""
        call = Call(
            operation="cancel_turn",
            method="POST",
            path=f"{_turn_path(turn_id)}/cancel",
            options=options,
        )
        return await self._fetch(call, turns.Turn)

    async def follow_turn(
        self, turn_id: str, *, after: int | None = None, options: CallOptions = NO_OPTIONS
    ) -> AsyncGenerator[turns.TurnEvent, None]:
        """The turn's events behind `after`, live as long as it runs; the last one is `end`.

        A stream that ends before raises `StreamInterruptedError`: follow it again behind the last
        `sequence` that came. Raises `NotFoundError`.
        """
        call = Call(
            operation="follow_turn",
            method="GET",
            path=f"{_turn_path(turn_id)}/events",
            query={"last_event_id": after},
            options=options,
        )
        async with self._calls.stream(call, EVENT_STREAM_MEDIA_TYPE) as chunks:
            try:
                async for line in data_lines(chunks):
                    event = turns.TurnEvent.model_validate_json(line)
                    yield event
                    if event.type == _END:
                        return
            except (MalformedStreamError, ValidationError) as error:
                reason = f"not an event: {type(error).__name__}"
                raise InvalidAnswerError(self.SERVICE, call.operation, reason) from None
        raise StreamInterruptedError(
            self.SERVICE, call.operation, "the stream ended before its end"
        )

    async def create_job(
        self, job: jobs.JobCreate, *, options: CallOptions = NO_OPTIONS
    ) -> jobs.JobQueued:
        """Have a worker answer a message. Raises `ConflictError` while the session is at work."""
        call = Call(
            operation="create_job",
            method="POST",
            path="/api/v1/jobs",
            body=job,
            options=options,
        )
        return await self._fetch(call, jobs.JobQueued)

    async def get_job(self, job_id: str, *, options: CallOptions = NO_OPTIONS) -> jobs.Job:
        """What became of a job; its id is that of its turn. Raises `NotFoundError`."""
        path = f"/api/v1/jobs/{quote(job_id, safe='')}"
        call = Call(operation="get_job", method="GET", path=path, options=options)
        return await self._fetch(call, jobs.Job)

    async def get_usage(
        self,
        *,
        project_id: int | None = None,
        user_id: int | None = None,
        first_day: date | None = None,
        last_day: date | None = None,
        group_by: Sequence[str] = (),
        limit: int | None = None,
        cursor: str | None = None,
        options: CallOptions = NO_OPTIONS,
    ) -> money.UsageReport:
        """What a project or a user used; one of the two ids is required.

        `group_by` is any of day, project, user and model; day and model if empty.
        """
        call = Call(
            operation="get_usage",
            method="GET",
            path="/api/v1/usage",
            query={
                "project_id": project_id,
                "user_id": user_id,
                "from": first_day.isoformat() if first_day else None,
                "to": last_day.isoformat() if last_day else None,
                "group_by": ",".join(group_by) or None,
                "limit": limit,
                "cursor": cursor,
            },
            options=options,
        )
        return await self._fetch(call, money.UsageReport)

    async def get_budget(
        self, scope: str, *, options: CallOptions = NO_OPTIONS
    ) -> money.Budget | None:
        """The budget of a scope such as `project-7-user-3`; None if it has none."""
        call = Call(operation="get_budget", method="GET", path=_budget_path(scope), options=options)
        try:
            return await self._fetch(call, money.Budget)
        except NotFoundError as error:
            if error.code == _NO_SUCH_ROUTE:
                raise
            return None

    async def set_budget(
        self, scope: str, limits: money.BudgetSet, *, options: CallOptions = NO_OPTIONS
    ) -> money.Budget:
        """Set the limits of a scope; both are replaced."""
        call = Call(
            operation="set_budget",
            method="PUT",
            path=_budget_path(scope),
            body=limits,
            options=options,
        )
        return await self._fetch(call, money.Budget)

    async def delete_budget(self, scope: str, *, options: CallOptions = NO_OPTIONS) -> None:
        """Remove the budget of a scope. Raises `NotFoundError`."""
        call = Call(
            operation="delete_budget", method="DELETE", path=_budget_path(scope), options=options
        )
        await self._fetch(call, money.BudgetDeleted)

    async def get_routing(
        self, scope: str, *, options: CallOptions = NO_OPTIONS
    ) -> routing.Routing | None:
        """The routing policy of `project-7`, say, or of the deployment (`default`); None if the
        project has none of its own.
        """
        call = Call(
            operation="get_routing", method="GET", path=_routing_path(scope), options=options
        )
        try:
            return await self._fetch(call, routing.Routing)
        except NotFoundError as error:
            if error.code == _NO_SUCH_ROUTE:
                raise
            return None

    async def set_routing(
        self, scope: str, policy: routing.RoutingSet, *, options: CallOptions = NO_OPTIONS
    ) -> routing.Routing:
        """Set the routing policy of a project, whole."""
        call = Call(
            operation="set_routing",
            method="PUT",
            path=_routing_path(scope),
            body=policy,
            options=options,
        )
        return await self._fetch(call, routing.Routing)

    async def delete_routing(self, scope: str, *, options: CallOptions = NO_OPTIONS) -> None:
        """Leave a project to the deployment's policy. Raises `NotFoundError`."""
        call = Call(
            operation="delete_routing", method="DELETE", path=_routing_path(scope), options=options
        )
        await self._fetch(call, routing.RoutingDeleted)


def _turn_path(turn_id: str) -> str:
    return f"/api/v1/turns/{quote(turn_id, safe='')}"


def _session_path(session_id: str) -> str:
    return f"/api/v1/sessions/{quote(session_id, safe='')}"


def _budget_path(scope: str) -> str:
    return f"/api/v1/budgets/{quote(scope, safe='')}"


def _routing_path(scope: str) -> str:
    return f"/api/v1/routing/{quote(scope, safe='')}"
