"""Domain models as the contract's."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from contracts.ai import jobs as job_contract
from contracts.ai import turns as contract
from contracts.ai import v1
from functions.ai.domain import catalogue, jobs, models, turns
from functions.ai.domain.images import read_images
from functions.ai.domain.inference import Tool, ToolResult
from functions.ai.domain.pricing import usd
from functions.ai.domain.sessions import CursorPage, SessionView
from functions.ai.domain.tool_data import result_to_wire
from functions.ai.domain.turn_starter import ChatCommand


def provider(known: catalogue.Provider, *, is_active: bool, is_default: bool) -> v1.Provider:
    """A provider; how it is reached is no business of its callers."""
    return v1.Provider(
        id=known.number,
        name=known.name,
        display_name=known.display_name,
        config={},
        is_active=is_active,
        is_default=is_default,
        created_at=known.since,
    )


def model(known: catalogue.Model, at: datetime, *, is_active: bool) -> v1.Model:
    """A model with its prices at that time; a retired one is never active."""
    costs = known.per_thousand(at)
    return v1.Model(
        id=known.number,
        provider_id=known.provider.number,
        name=known.name,
        display_name=known.display_name,
        description=known.description,
        supports_functions=known.supports_functions,
        supports_vision=known.supports_vision,
        context_window=known.context_window,
        max_tokens=known.max_output_tokens,
        input_cost=usd(costs[0]) if costs else None,
        output_cost=usd(costs[1]) if costs else None,
        is_active=is_active and not known.retired,
        is_default=known.is_default,
        created_at=known.provider.since,
    )


def chat_command(body: v1.ChatQuestion) -> ChatCommand:
    """What a caller asks of a model. Raises the errors of `read_images`."""
    return ChatCommand(
        message=body.message,
        project_id=body.project_id,
        user_id=body.user_id,
        session_id=body.session_id,
        card_id=body.card_id,
        provider=body.provider,
        model=body.model,
        tools=tuple(
            Tool(tool.function.name, tool.function.description, tool.function.parameters)
            for tool in body.tools or ()
        ),
        tool_results=[
            result_to_wire(ToolResult(result.tool_call_id, result.content, result.is_error))
            for result in body.tool_results or ()
        ],
        max_output_tokens=body.max_output_tokens,
        images=read_images(body.images or (), body.project_id),
    )


def message(stored: models.Message, bucket: str) -> v1.Message:
    """A message, whose images lie in the `bucket`."""
    draft = stored.draft
    images = [f"s3://{bucket}/{image.key}" for image in draft.images]
    return v1.Message(
        id=draft.number,
        session_id=stored.session_number,
        role=draft.role,
        content=draft.content,
        tool_calls=tool_data(draft.tool_calls),
        tool_results=tool_data(draft.tool_results),
        images=images or None,
        tokens_used=draft.tokens_used,
        cost=draft.cost,
        created_at=draft.created_at,
    )


def job(known: turns.Turn) -> job_contract.Job:
    """A turn that is a job, as one."""
    failure = known.failure
    return job_contract.Job(
        job_id=known.turn_id,
        session_id=known.session_id,
        project_id=known.project_id,
        user_id=known.user_id,
        status=known.status,
        priority=known.job.priority if known.job else "normal",
        progress=jobs.progress(known),
        result=jobs.result(known),
        error=contract.TurnError(**asdict(failure)) if failure else None,
        created_at=known.created_at,
        updated_at=known.updated_at,
    )


def turn(known: turns.Turn) -> contract.Turn:
    """A turn."""
    failure, usage = known.failure, known.usage
    return contract.Turn(
        turn_id=known.turn_id,
        session_id=known.session_id,
        project_id=known.project_id,
        user_id=known.user_id,
        provider=known.provider,
        model=known.model,
        status=known.status,
        cancelling=known.cancelling and not known.ended,
        attempt=known.attempt,
        message_id=known.message_id,
        usage=contract.TokenUsage(**asdict(usage)) if usage else None,
        usage_estimated=known.usage_estimated,
        delivered_tokens=known.delivered_tokens,
        cost=known.cost,
        stop=known.stop,
        error=contract.TurnError(**asdict(failure)) if failure else None,
        created_at=known.created_at,
        updated_at=known.updated_at,
    )


def session(view: SessionView, bucket: str) -> v1.Session:
    """A session with its messages, whose images lie in the `bucket`."""
    return v1.Session(
        **_session_fields(view.session),
        messages=[message(stored, bucket) for stored in view.messages],
        messages_truncated=view.truncated,
    )


def session_summary(stored: models.Session) -> v1.SessionSummary:
    """A session without its messages."""
    return v1.SessionSummary(**_session_fields(stored))


def session_page(page: CursorPage) -> v1.SessionPage:
    """A page of sessions."""
    return v1.SessionPage(
        sessions=[session_summary(item) for item in page.items],
        has_more=page.next_cursor is not None,
        next_cursor=page.next_cursor,
    )


def message_page(page: CursorPage, bucket: str) -> v1.MessagePage:
    """A page of messages, whose images lie in the `bucket`."""
    return v1.MessagePage(
        messages=[message(item, bucket) for item in page.items],
        has_more=page.next_cursor is not None,
        next_cursor=page.next_cursor,
    )


def _session_fields(stored: models.Session) -> dict[str, Any]:
    return {
        "id": stored.number,
        "session_id": stored.session_id,
        "project_id": stored.project_id,
        "user_id": stored.user_id,
        "card_id": stored.card_id,
        "provider": stored.provider,
        "model": stored.model,
        "status": stored.status,
        "context": dict(stored.context),
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
        "completed_at": stored.completed_at,
    }


def tool_data(data: models.ToolData | None) -> list[dict[str, Any]] | None:
    """A message's tool calls or results."""
    return None if data is None else [dict(part) for part in data]
