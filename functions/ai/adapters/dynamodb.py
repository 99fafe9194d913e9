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
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

from functions.ai.adapters import keys
from functions.ai.adapters.contention import pause
from functions.ai.adapters.session_items import (
    message_from,
    message_item,
    place,
    session_from,
    session_item,
    to_json,
    use,
)
from functions.ai.domain.errors import (
    ClaimLostError,
    SessionBusyError,
    SessionNotActiveError,
    SessionNotFoundError,
)
from functions.ai.domain.lifetime import Lifetime
from functions.ai.domain.models import (
    Draft,
    Message,
    Session,
    SessionChanges,
    SessionFilter,
    SessionPage,
)
from functions.ai.domain.ports import Settlement
from servicekit.clock import Clock, to_text, utc_now
from servicekit.dynamodb import (
    NEW,
    ConditionFailedError,
    DynamoTable,
    Expression,
    Item,
    Key,
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

_MAX_PAGES_OF_A_LISTING = 20
_ITEMS_OF_A_FILTERED_PAGE = 100
FOR_EVER = Lifetime(None)
VISIBLE = "attribute_exists(pk) AND attribute_not_exists(deleted_at)"


class DynamoSessions:
    """`ports.SessionStore` on DynamoDB."""

    def __init__(
        self, table: DynamoTable, lifetime: Lifetime = FOR_EVER, clock: Clock = utc_now
    ) -> None:
        self._table = table
        self._lifetime = lifetime
        self._clock = clock

    async def create(
        self, session: Session, drafts: Sequence[Draft], settlement: Settlement | None
    ) -> tuple[Session, list[Message]]:
        """See `ports.SessionStore`."""
        messages = [place(session, 1 + index, draft) for index, draft in enumerate(drafts)]
        stored = replace(session, next_sequence=1 + len(messages))
        writes: list[Write] = [
            Put(session_item(stored), NEW),
            *(Put(message_item(message), NEW) for message in messages),
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
        if item is None:
            return None
        return session_from(item) if even_deleted or self._visible(item) else None

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
            message = place(session, session.next_sequence, draft)
            writes: list[Write] = [
                _advance(session, message, only_active=only_active),
                Put(message_item(message), NEW),
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
            wait = pause(attempt)
            if clock() + wait > deadline:
                break
            await asyncio.sleep(wait)
            # Only now: what was read before the pause would be out of date.
            session = await self._reloaded(session.session_id, only_active=only_active)
        raise SessionBusyError(retry_after=1)

    async def change(self, session_id: str, changes: SessionChanges) -> Session:
        """See `ports.SessionStore`."""
        fields = dict(changes.fields)
        used, values = use(session_id, changes.at)
        sets = [used]
        if "context" in fields:
            fields["context"] = to_json(fields["context"])
        if "status" in fields:
            ended = fields["status"] != "active"
            fields["completed_at"] = to_text(changes.at) if ended else None
        names = {f"#{name}": name for name in fields}
        values |= {f":{name}": value for name, value in fields.items()}
        sets += [f"#{name} = :{name}" for name in fields]
        expression = Expression(
            VISIBLE, update=f"SET {', '.join(sets)}", names=names, values=values
        )
        try:
            item = await self._table.update(Update(keys.session_key(session_id), expression))
        except ConditionFailedError:
            raise SessionNotFoundError from None
        return session_from(item)

    async def hide(self, session_id: str) -> None:
        """See `ports.SessionStore`."""
        hide = hiding(session_id, "attribute_exists(pk)")
        try:
            await self._table.update(Update(keys.session_key(session_id), hide))
        except ConditionFailedError:
            raise SessionNotFoundError from None

    async def delete(self, session_id: str) -> None:
        """See `ports.SessionStore`."""
        await self.hide(session_id)
        await self._delete_messages(session_id)
        await self._table.write_batch(deletes=[keys.summary_key(session_id)])
        key = keys.session_key(session_id)
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
            found += filter(self._visible, page.items)
            start = page.last_key
            if start is None or len(found) > limit:
                break
        sessions = [session_from(item) for item in found[:limit]]
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
                yield message_from(session, item)
            start = page.last_key
            if start is None:
                return

    async def check(self) -> None:
        """See `ports.SessionStore`."""
        await self._table.get(keys.PROBE, consistent=False)

    def _visible(self, item: Item) -> bool:
        """Whether anybody sees the session: some are on their way out."""
        return "deleted_at" not in item and not self._lifetime.is_over(
            session_from(item), self._clock()
        )

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
                projection="pk, sk, turn_id",
            )
            # Of the turns first: only their questions lead to them.
            turns = [str(item["turn_id"]) for item in page.items if item.get("turn_id")]
            await asyncio.gather(*(self._delete_all(keys.turn_pk(turn)) for turn in turns))
            await self._table.write_batch(deletes=[_key_of(item) for item in page.items])
            if page.last_key is None:
                return

    async def _delete_all(self, partition: str) -> None:
        start: Item | None = None
        while True:
            page = await self._table.query(
                "pk = :pk", {":pk": partition}, projection="pk, sk", start=start
            )
            await self._table.write_batch(deletes=[_key_of(item) for item in page.items])
            start = page.last_key
            if start is None:
                return


def hiding(
    session_id: str, condition: str, values: Mapping[str, Value] | None = None
) -> Expression:
    """Makes the session invisible, if the condition holds; whoever looks after what deletions left
    finds it until it is gone.
    """
    return Expression(
        condition,
        update="SET deleted_at = :yes, gsi3pk = :pk, gsi3sk = :sk"
        " REMOVE gsi1pk, gsi1sk, gsi2pk, gsi2sk",
        values={
            **(values or {}),
            ":yes": True,
            ":pk": keys.use_pk(session_id),
            ":sk": keys.use_sk(None, session_id),
        },
    )


def _key_of(item: Mapping[str, Value]) -> Key:
    return {"pk": str(item["pk"]), "sk": str(item["sk"])}


def _advance(session: Session, message: Message, *, only_active: bool) -> Update:
    """Moves the session's next place on if nobody else did."""
    condition = f"{VISIBLE} AND next_sequence = :expected"
    used, values = use(session.session_id, message.draft.created_at)
    values |= {":expected": message.sequence, ":next": message.sequence + 1}
    names: dict[str, str] = {}
    if only_active:
        condition += " AND #status = :active"
        values[":active"] = "active"
        names["#status"] = "status"
    return Update(
        keys.session_key(session.session_id),
        Expression(
            condition,
            update=f"SET next_sequence = :next, {used}",
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
    session_id = keys.id_of_listing(position)
    if not session_id:
        raise InvalidCursorError
    return {
        f"{index}pk": partition,
        f"{index}sk": position,
        **keys.session_key(session_id),
    }
