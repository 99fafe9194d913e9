"""Sessions and messages as the table's items."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from functions.ai.adapters import keys
from functions.ai.domain.inference import ImageRef, Opaque, Tool
from functions.ai.domain.models import Draft, Message, Session
from servicekit.clock import from_text, to_text
from servicekit.dynamodb import Item, Value


def session_item(session: Session) -> Item:
    """A session, as it is created."""
    created_at = to_text(session.created_at)
    listing = keys.listing_sk(created_at, session.session_id)
    item: Item = {
        **keys.session_key(session.session_id),
        "gsi1pk": keys.project_pk(session.project_id),
        "gsi1sk": listing,
        "gsi2pk": keys.user_pk(session.user_id),
        "gsi2sk": listing,
        "gsi3pk": keys.use_pk(session.session_id),
        "gsi3sk": keys.use_sk(session.used_on, session.session_id),
        "session_id": session.session_id,
        "number": session.number,
        "project_id": session.project_id,
        "user_id": session.user_id,
        "card_id": session.card_id,
        "provider": session.provider,
        "model": session.model,
        "status": session.status,
        "context": to_json(session.context),
        "created_at": created_at,
        "next_sequence": session.next_sequence,
        "updated_at": None,
        "completed_at": None,
    }
    # A condition asks whether it is there: a null would be.
    if session.turn_id is not None:
        item["turn_id"] = session.turn_id
    return item


def session_from(item: Mapping[str, Any]) -> Session:
    """The inverse of `session_item`."""
    return Session(
        session_id=item["session_id"],
        number=item["number"],
        project_id=item["project_id"],
        user_id=item["user_id"],
        card_id=item["card_id"],
        provider=item["provider"],
        model=item["model"],
        status=item["status"],
        context=json.loads(item["context"]),
        created_at=from_text(item["created_at"]),
        next_sequence=item["next_sequence"],
        updated_at=from_text(item["updated_at"]) if item["updated_at"] else None,
        completed_at=from_text(item["completed_at"]) if item["completed_at"] else None,
        turn_id=item.get("turn_id"),
    )


def use(session_id: str, at: datetime) -> tuple[str, dict[str, Value]]:
    """The part of an update's SET that tells of a use of the session, and its values."""
    clause = "updated_at = :used_at, gsi3pk = :use_pk, gsi3sk = :use_sk"
    return clause, {
        ":used_at": to_text(at),
        ":use_pk": keys.use_pk(session_id),
        ":use_sk": keys.use_sk(at.astimezone(UTC).date(), session_id),
    }


def message_item(message: Message) -> Item:
    """A message."""
    draft = message.draft
    return {
        "pk": keys.session_pk(message.session_id),
        "sk": keys.message_sk(message.sequence),
        "sequence": message.sequence,
        "number": draft.number,
        "role": draft.role,
        "content": draft.content,
        "tool_calls": None if draft.tool_calls is None else to_json(draft.tool_calls),
        "tool_results": None if draft.tool_results is None else to_json(draft.tool_results),
        "tokens_used": draft.tokens_used,
        "cost": draft.cost,
        "reply_to": draft.reply_to,
        "incomplete": draft.incomplete,
        "turn_id": draft.turn_id,
        "tools": to_json([asdict(tool) for tool in draft.tools]) if draft.tools else None,
        "max_output_tokens": draft.max_output_tokens,
        "opaque": _opaque_item(draft.opaque),
        "stop": draft.stop,
        "images": to_json([asdict(image) for image in draft.images]) if draft.images else None,
        "created_at": to_text(draft.created_at),
    }


def message_from(session: Session, item: Mapping[str, Any]) -> Message:
    """The inverse of `message_item`; items of earlier versions lack what came later."""
    calls, results = item["tool_calls"], item["tool_results"]
    draft = Draft(
        number=item["number"],
        role=item["role"],
        content=item["content"],
        created_at=from_text(item["created_at"]),
        tool_calls=None if calls is None else json.loads(calls),
        tool_results=None if results is None else json.loads(results),
        tokens_used=item["tokens_used"],
        cost=item["cost"],
        reply_to=item["reply_to"],
        incomplete=item["incomplete"],
        # Items of earlier days have none of these.
        turn_id=item.get("turn_id"),
        tools=tuple(Tool(**tool) for tool in json.loads(item.get("tools") or "[]")),
        max_output_tokens=item.get("max_output_tokens"),
        opaque=_opaque_from(item.get("opaque")),
        stop=item.get("stop"),
        images=tuple(ImageRef(**image) for image in json.loads(item.get("images") or "[]")),
    )
    return place(session, item["sequence"], draft)


def _opaque_item(opaque: Sequence[Opaque]) -> str | None:
    spelt = [{"origin": part.origin, "content": part.content} for part in opaque]
    return to_json(spelt) if spelt else None


def _opaque_from(stored: str | None) -> tuple[Opaque, ...]:
    parts = json.loads(stored) if stored else []
    return tuple(Opaque(part["origin"], part["content"]) for part in parts)


def place(session: Session, sequence: int, draft: Draft) -> Message:
    """The draft at its place."""
    return Message(session.session_id, session.number, sequence, draft)


def to_json(value: Any) -> str:
    """What is deeper than an attribute: compact JSON text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
