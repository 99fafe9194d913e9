"""Sessions and messages in one table, one item per message. See `keys` for the items.

| access pattern              | operation                                                       |
| --------------------------- | --------------------------------------------------------------- |
| a session                   | GetItem, consistent                                             |
| a session's messages        | Query on pk, sk between two places, either direction, consistent |
| sessions of a project       | Query on gsi1, newest first                                     |
| sessions of a user          | Query on gsi2, newest first; filtered where a project is given  |
| start a session             | TransactWriteItems: session, messages, idempotency record       |
| add a message               | TransactWriteItems: next_sequence if nobody moved it, message,  |
|                             | idempotency record; again, behind the new end, if somebody did  |
| change a session            | UpdateItem, if it exists                                        |
| delete a session            | UpdateItem (invisible), Query, BatchWriteItem, DeleteItem       |
| is the table there          | GetItem of a key that is never written                          |
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from functions.ai.adapters import keys
from functions.ai.domain.errors import (
    ClaimLostError,
    SessionBusyError,
    SessionNotActiveError,
    SessionNotFoundError,
)
from functions.ai.domain.inference import Opaque
from functions.ai.domain.models import (
    Draft,
    Message,
    Session,
    SessionChanges,
    SessionFilter,
    SessionPage,
)
from functions.ai.domain.ports import Settlement
from servicekit.clock import from_text, to_text
from servicekit.dynamodb import (
    ConditionFailedError,
    DynamoTable,
    Expression,
    Item,
    Put,
    TransactionRefusedError,
    Update,
    Value,
    Write,
    WriteConflictError,
    claim_write,
)
from servicekit.paging import InvalidCursorError

_PATIENCE_SECONDS = 10.0
"""How long a message waits for its turn: its sender can repeat it, and API Gateway waits 29 s."""

_PATIENCE_OF_ANSWERS_SECONDS = 25.0
"""The same of an answer, which nobody can repeat: within the minute that `chat` leaves for it."""

_BACKOFF_SECONDS = 0.02
_MAX_BACKOFF_SECONDS = 1.0
_MAX_DOUBLINGS = 10
_MAX_PAGES_OF_A_LISTING = 20
_ITEMS_OF_A_FILTERED_PAGE = 100
_NEW = Expression("attribute_not_exists(pk)")
_VISIBLE = "attribute_exists(pk) AND attribute_not_exists(deleted_at)"


class DynamoSessions:
    """`ports.SessionStore` on DynamoDB."""

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    async def create(
        self, session: Session, drafts: Sequence[Draft], settlement: Settlement | None
    ) -> tuple[Session, list[Message]]:
        """See `ports.SessionStore`."""
        messages = [_place(session, 1 + index, draft) for index, draft in enumerate(drafts)]
        stored = replace(session, next_sequence=1 + len(messages))
        writes: list[Write] = [
            Put(_session_item(stored), _NEW),
            *(Put(_message_item(message), _NEW) for message in messages),
        ]
        if settlement:
            writes.append(claim_write(settlement(messages)))
        try:
            await self._table.transact(writes)
        except TransactionRefusedError:
            # The ids are new and collide with nothing: it is the claim that failed.
            raise ClaimLostError(retry_after=1) from None
        return stored, messages

    async def get(self, session_id: str, *, even_deleted: bool = False) -> Session | None:
        """See `ports.SessionStore`."""
        item = await self._table.get(keys.session_key(session_id))
        visible = item and (even_deleted or "deleted_at" not in item)
        return _session_from(item) if item and visible else None

    async def append(
        self,
        session: Session,
        draft: Draft,
        settlement: Settlement | None,
        *,
        only_active: bool,
    ) -> tuple[Session, Message]:
        """See `ports.SessionStore`."""
        clock = asyncio.get_running_loop().time
        patience = _PATIENCE_SECONDS if only_active else _PATIENCE_OF_ANSWERS_SECONDS
        deadline = clock() + patience
        for attempt in itertools.count():
            message = _place(session, session.next_sequence, draft)
            writes: list[Write] = [
                _advance(session, message, only_active=only_active),
                Put(_message_item(message), _NEW),
            ]
            if settlement:
                writes.append(claim_write(settlement([message])))
            try:
                # After a conflict the place is as good as taken: it is not tried again as it is.
                await self._table.transact(writes, attempts=1)
            except TransactionRefusedError as refused:
                if len(writes) - 1 in refused.failed and settlement:
                    raise ClaimLostError(retry_after=1) from None
            except WriteConflictError:
                pass
            else:
                moved = replace(
                    session,
                    next_sequence=message.sequence + 1,
                    updated_at=draft.created_at,
                )
                return moved, message
            pause = _pause(attempt)
            if clock() + pause > deadline:
                break
            await asyncio.sleep(pause)
            # Only now: what was read before the pause would be out of date.
            session = await self._reloaded(session.session_id, only_active=only_active)
        raise SessionBusyError(retry_after=1)

    async def change(self, session_id: str, changes: SessionChanges) -> Session:
        """See `ports.SessionStore`."""
        fields = dict(changes.fields)
        values: dict[str, Value] = {":updated_at": to_text(changes.at)}
        sets = ["updated_at = :updated_at"]
        if "context" in fields:
            fields["context"] = _to_json(fields["context"])
        if "status" in fields:
            ended = fields["status"] != "active"
            fields["completed_at"] = to_text(changes.at) if ended else None
        names = {f"#{name}": name for name in fields}
        values |= {f":{name}": value for name, value in fields.items()}
        sets += [f"#{name} = :{name}" for name in fields]
        expression = Expression(
            _VISIBLE, update=f"SET {', '.join(sets)}", names=names, values=values
        )
        try:
            item = await self._table.update(Update(keys.session_key(session_id), expression))
        except ConditionFailedError:
            raise SessionNotFoundError from None
        return _session_from(item)

    async def delete(self, session_id: str) -> None:
        """See `ports.SessionStore`."""
        key = keys.session_key(session_id)
        hide = Expression(
            "attribute_exists(pk)",
            update="SET deleted_at = :now REMOVE gsi1pk, gsi1sk, gsi2pk, gsi2sk",
            values={":now": True},
        )
        try:
            await self._table.update(Update(key, hide))
        except ConditionFailedError:
            raise SessionNotFoundError from None
        await self._delete_messages(session_id)
        try:
            await self._table.delete(key, Expression("attribute_exists(deleted_at)"))
        except ConditionFailedError:
            return  # a second deletion at the same time got here first

    async def list_sessions(
        self, wanted: SessionFilter, limit: int, position: str | None
    ) -> SessionPage:
        """See `ports.SessionStore`."""
        index, partition = _partition(wanted)
        filtered = wanted.user_id is not None and wanted.project_id is not None
        values: dict[str, Value] = {":pk": partition}
        if filtered:
            values[":project"] = wanted.project_id
        start = _start(index, partition, position) if position else None
        # DynamoDB counts before it filters.
        least = _ITEMS_OF_A_FILTERED_PAGE if filtered else 1
        found: list[Item] = []
        for _ in range(_MAX_PAGES_OF_A_LISTING):
            page = await self._table.query(
                f"{index}pk = :pk",
                values,
                index=index,
                forward=False,
                limit=max(limit + 1 - len(found), least),
                start=start,
                filter_by="project_id = :project" if filtered else None,
            )
            found += page.items
            start = page.last_key
            if start is None or len(found) > limit:
                break
        sessions = [_session_from(item) for item in found[:limit]]
        if len(found) > limit:
            return SessionPage(sessions, str(found[limit - 1][f"{index}sk"]))
        return SessionPage(sessions, str(start[f"{index}sk"]) if start else None)

    async def messages(
        self,
        session: Session,
        *,
        after: int = 0,
        up_to: int | None = None,
        newest_first: bool = False,
        page_size: int | None = None,
    ) -> AsyncIterator[Message]:
        """See `ports.SessionStore`."""
        first, last = keys.message_range(after, up_to)
        if first > last:
            return
        start: Item | None = None
        while True:
            page = await self._table.query(
                "pk = :pk AND sk BETWEEN :first AND :last",
                {":pk": keys.session_pk(session.session_id), ":first": first, ":last": last},
                forward=not newest_first,
                limit=page_size,
                start=start,
            )
            for item in page.items:
                yield _message_from(session, item)
            start = page.last_key
            if start is None:
                return

    async def check(self) -> None:
        """See `ports.SessionStore`."""
        await self._table.get(keys.PROBE, consistent=False)

    async def _reloaded(self, session_id: str, *, only_active: bool) -> Session:
        session = await self.get(session_id)
        if session is None:
            raise SessionNotFoundError
        if only_active and session.status != "active":
            raise SessionNotActiveError(f"The session's status is {session.status}.")
        return session

    async def _delete_messages(self, session_id: str) -> None:
        first, last = keys.message_range(0, None)
        while True:
            page = await self._table.query(
                "pk = :pk AND sk BETWEEN :first AND :last",
                {":pk": keys.session_pk(session_id), ":first": first, ":last": last},
                projection="pk, sk",
            )
            await self._table.write_batch(
                deletes=[{"pk": str(item["pk"]), "sk": str(item["sk"])} for item in page.items]
            )
            if page.last_key is None:
                return


def _pause(attempt: int) -> float:
    # Full jitter: waiting equally long would let the same rivals meet again.
    longest = _BACKOFF_SECONDS * 2 ** min(attempt, _MAX_DOUBLINGS)
    return random.uniform(0, min(longest, _MAX_BACKOFF_SECONDS))  # noqa: S311


def _place(session: Session, sequence: int, draft: Draft) -> Message:
    return Message(session.session_id, session.number, sequence, draft)


def _advance(session: Session, message: Message, *, only_active: bool) -> Update:
    """Moves the session's next place on if nobody else did."""
    condition = f"{_VISIBLE} AND next_sequence = :expected"
    values: dict[str, Value] = {
        ":expected": message.sequence,
        ":next": message.sequence + 1,
        ":now": to_text(message.draft.created_at),
    }
    names: dict[str, str] = {}
    if only_active:
        condition += " AND #status = :active"
        values[":active"] = "active"
        names["#status"] = "status"
    return Update(
        keys.session_key(session.session_id),
        Expression(
            condition,
            update="SET next_sequence = :next, updated_at = :now",
            names=names,
            values=values,
        ),
    )


def _partition(wanted: SessionFilter) -> tuple[str, str]:
    if wanted.user_id is not None:
        return "gsi2", keys.user_pk(wanted.user_id)
    if wanted.project_id is not None:
        return "gsi1", keys.project_pk(wanted.project_id)
    raise ValueError("a listing needs a project or a user")


def _start(index: str, partition: str, position: str) -> Item:
    session_id = keys.session_of_listing(position)
    if not session_id:
        raise InvalidCursorError
    return {
        f"{index}pk": partition,
        f"{index}sk": position,
        **keys.session_key(session_id),
    }


def _session_item(session: Session) -> Item:
    created_at = to_text(session.created_at)
    listing = keys.listing_sk(created_at, session.session_id)
    return {
        **keys.session_key(session.session_id),
        "gsi1pk": keys.project_pk(session.project_id),
        "gsi1sk": listing,
        "gsi2pk": keys.user_pk(session.user_id),
        "gsi2sk": listing,
        "session_id": session.session_id,
        "number": session.number,
        "project_id": session.project_id,
        "user_id": session.user_id,
        "card_id": session.card_id,
        "provider": session.provider,
        "model": session.model,
        "status": session.status,
        "context": _to_json(session.context),
        "created_at": created_at,
        "next_sequence": session.next_sequence,
        "updated_at": None,
        "completed_at": None,
    }


def _session_from(item: Mapping[str, Any]) -> Session:
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
    )


def _message_item(message: Message) -> Item:
    draft = message.draft
    return {
        "pk": keys.session_pk(message.session_id),
        "sk": keys.message_sk(message.sequence),
        "sequence": message.sequence,
        "number": draft.number,
        "role": draft.role,
        "content": draft.content,
        "tool_calls": None if draft.tool_calls is None else _to_json(draft.tool_calls),
        "tool_results": None if draft.tool_results is None else _to_json(draft.tool_results),
        "tokens_used": draft.tokens_used,
        "cost": draft.cost,
        "reply_to": draft.reply_to,
        "incomplete": draft.incomplete,
        "opaque": _opaque_item(draft.opaque),
        "stop": draft.stop,
        "created_at": to_text(draft.created_at),
    }


def _message_from(session: Session, item: Mapping[str, Any]) -> Message:
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
        # Items of earlier days have neither.
        opaque=_opaque_from(item.get("opaque")),
        stop=item.get("stop"),
    )
    return _place(session, item["sequence"], draft)


def _opaque_item(opaque: Sequence[Opaque]) -> str | None:
    spelt = [{"origin": part.origin, "content": part.content} for part in opaque]
    return _to_json(spelt) if spelt else None


def _opaque_from(stored: str | None) -> tuple[Opaque, ...]:
    parts = json.loads(stored) if stored else []
    return tuple(Opaque(part["origin"], part["content"]) for part in parts)


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
