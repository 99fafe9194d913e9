"""Turns and their events, in the table of the sessions. See `keys` for the items.

| access pattern         | operation                                                            |
| ---------------------- | -------------------------------------------------------------------- |
| begin a turn           | TransactWriteItems: session (its place taken, if free), question,    |
|                        | turn, idempotency record                                             |
| try a turn again       | TransactWriteItems: session (its place taken), turn, usage, budgets  |
| a turn                 | GetItem, consistent                                                  |
| what its owner is told | GetItem; UpdateItem where the lease is renewed                       |
| add events             | PutItem, four a second at most                                       |
| events behind a place  | Query on pk, sk above the place, consistent                          |
| cancel a turn          | UpdateItem, if it runs                                               |
| queue a turn again     | TransactWriteItems: turn, events, usage, budgets                     |
| end a turn             | TransactWriteItems: session (its place free), answer, turn, events   |
| bill an ended turn     | TransactWriteItems: turn, answer                                     |
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Never

from functions.ai.adapters import keys
from functions.ai.adapters.bills import behind, bill_writes
from functions.ai.adapters.contention import pause
from functions.ai.adapters.dynamodb import VISIBLE
from functions.ai.adapters.session_items import message_item, place, session_from, session_item, use
from functions.ai.adapters.turn_items import (
    Retention,
    event_items,
    events_from,
    turn_from,
    turn_item,
)
from functions.ai.domain.errors import (
    ClaimLostError,
    SessionBusyError,
    SessionNotActiveError,
    SessionNotFoundError,
    SessionOccupiedError,
    TurnLostError,
)
from functions.ai.domain.models import Draft, Message, Session
from functions.ai.domain.ports import Settlement
from functions.ai.domain.turns import Bill, Ending, Numbered, Signal, Turn
from servicekit.clock import to_text
from servicekit.dynamodb import (
    NEW,
    ConditionFailedError,
    DynamoTable,
    Expression,
    Item,
    Put,
    TransactionRefusedError,
    Update,
    Write,
    WriteConflictError,
    claim_write,
)

_PATIENCE_SECONDS = 10.0
"""How long a question waits for its place: its sender can repeat it."""

_PATIENCE_OF_ANSWERS_SECONDS = 25.0
"""The same of an answer, which nobody can repeat: within the minute that `runner` leaves for it."""

_MINE = "attempt = :attempt AND #status = :status"
_SESSION = 0


class DynamoTurns:
    """`ports.TurnStore` on DynamoDB."""

    def __init__(self, table: DynamoTable, retention: Retention) -> None:
        self._table = table
        self._retention = retention

    async def begin(
        self,
        session: Session,
        drafts: Sequence[Draft],
        turn: Turn,
        settlement: Settlement | None,
        *,
        new: bool,
    ) -> tuple[Session, list[Message]]:
        """See `ports.TurnStore`."""
        deadline = _now() + _PATIENCE_SECONDS
        for attempt in itertools.count():
            first = session.next_sequence
            messages = [place(session, first + n, draft) for n, draft in enumerate(drafts)]
            moved = replace(
                session,
                next_sequence=first + len(messages),
                updated_at=None if new else turn.created_at,
                turn_id=turn.turn_id,
            )
            asked = replace(turn, question=messages[-1].sequence)
            writes: list[Write] = [
                Put(session_item(moved), NEW) if new else _take(session, moved, turn.created_at),
                *(Put(message_item(message), NEW) for message in messages),
                Put(turn_item(asked, self._retention), NEW),
            ]
            if settlement:
                writes.append(claim_write(settlement(messages)))
            try:
                await self._table.transact(writes, attempts=1)
            except TransactionRefusedError as refused:
                if settlement and len(writes) - 1 in refused.failed:
                    raise ClaimLostError(retry_after=1) from None
                if _SESSION not in refused.failed or new:
                    raise
                session = _free(refused.items.get(_SESSION), turn)
            except WriteConflictError:
                pass
            else:
                return moved, messages
            if not await _given_way(attempt, deadline):
                break
        raise SessionBusyError(retry_after=1)

    async def get(self, turn_id: str) -> Turn | None:
        """See `ports.TurnStore`."""
        item = await self._table.get(keys.turn_key(turn_id))
        return turn_from(item) if item else None

    async def retry(self, turn: Turn, again: Turn, bill: Bill | None = None) -> None:
        """See `ports.TurnStore`."""
        used, values = use(turn.session_id, again.updated_at)
        take = Expression(
            f"{VISIBLE} AND #status = :active"
            " AND (attribute_not_exists(turn_id) OR turn_id = :turn)",
            update=f"SET turn_id = :turn, {used}",
            names={"#status": "status"},
            values={":active": "active", ":turn": turn.turn_id, **values},
        )
        try:
            await self._table.transact(
                [
                    Update(keys.session_key(turn.session_id), take),
                    Put(turn_item(again, self._retention), _left(turn)),
                    *bill_writes(bill),
                ]
            )
        except TransactionRefusedError as refused:
            if _SESSION not in refused.failed:
                raise TurnLostError from None
            _free(refused.items.get(_SESSION), turn)
            raise TurnLostError from None

    async def add_events(self, turn: Turn, events: Sequence[Numbered]) -> None:
        """See `ports.TurnStore`."""
        for item in event_items(turn, events, self._retention):
            await self._table.put(Put(item, _newest(turn)))

    async def events(self, turn_id: str, after: int) -> Sequence[Numbered]:
        """See `ports.TurnStore`."""
        first, last = keys.event_range(after)
        page = await self._table.query(
            "pk = :pk AND sk BETWEEN :first AND :last",
            {":pk": keys.turn_pk(turn_id), ":first": first, ":last": last},
        )
        events: list[Numbered] = []
        for item in page.items:
            # A write whose answer was lost may be there beside the one that repeated it.
            events += [event for event in events_from(item) if event.sequence > after]
            after = events[-1].sequence if events else after
        return events

    async def watch(self, turn: Turn, lease_expires_at: int | None) -> Signal:
        """See `ports.TurnStore`."""
        key = keys.turn_key(turn.turn_id)
        if lease_expires_at is None:
            item = await self._table.get(key)
        else:
            item = await self._renew(turn, lease_expires_at)
        if item is None or (item["attempt"], item["status"]) != (turn.attempt, turn.status):
            return "lost"
        return "cancel" if item["cancelling"] else "go"

    async def cancel(self, turn_id: str, at: datetime) -> Turn | None:
        """See `ports.TurnStore`."""
        ask = Expression(
            "#status = :running",
            update="SET cancelling = :yes, updated_at = :now",
            names={"#status": "status"},
            values={":running": "running", ":yes": True, ":now": to_text(at)},
        )
        try:
            return turn_from(await self._table.update(Update(keys.turn_key(turn_id), ask)))
        except ConditionFailedError as failure:
            return turn_from(failure.item) if failure.item else None

    async def postpone(
        self, turn: Turn, later: Turn, events: Sequence[Numbered], bill: Bill
    ) -> bool:
        """See `ports.TurnStore`."""
        mine = _mine(turn)
        unless_cancelled = replace(
            mine,
            condition=f"{mine.condition} AND cancelling = :no",
            values={**(mine.values or {}), ":no": False},
        )
        money = bill_writes(bill)
        try:
            await self._table.transact(
                [
                    *money,
                    Put(turn_item(later, self._retention), unless_cancelled),
                    *(
                        Put(item, _newest(turn))
                        for item in event_items(turn, events, self._retention)
                    ),
                ]
            )
        except TransactionRefusedError as refused:
            behind(refused, len(money))
            found = await self.get(turn.turn_id)
            if found and (found.attempt, found.status) == (turn.attempt, turn.status):
                return False
            raise TurnLostError from None
        return True

    async def conclude(self, turn: Turn, ending: Ending) -> tuple[Turn, Message | None]:
        """See `ports.TurnStore`."""
        deadline = _now() + _PATIENCE_OF_ANSWERS_SECONDS
        # Nobody else adds to the session, as a rule: then this is its next place.
        sequence = turn.question + 1
        for attempt in itertools.count():
            message = _answer(turn, sequence, ending.draft)
            ended = turn.concluded(ending, message)
            bill = bill_writes(ending.bill)
            try:
                await self._table.transact(
                    [*bill, *self._end(turn, ended, ending, message)], attempts=1
                )
            except TransactionRefusedError as refused:
                sequence = _next_place(behind(refused, len(bill)), turn)
            except WriteConflictError:
                pass
            else:
                return ended, message
            if not await _given_way(attempt, deadline):
                break
        raise SessionBusyError(retry_after=1)

    async def account(self, turn: Turn, bill: Bill) -> Turn:
        """See `ports.TurnStore`."""
        billed = turn.billed(bill)
        money = bill_writes(bill)
        writes: list[Write] = [*money, Put(turn_item(billed, self._retention), _mine(turn))]
        if turn.answer is not None:
            writes.append(
                Update(
                    {"pk": keys.session_pk(turn.session_id), "sk": keys.message_sk(turn.answer)},
                    Expression(
                        "attribute_exists(pk)",
                        update="SET tokens_used = :tokens, cost = :cost",
                        values={
                            ":tokens": bill.usage.total if bill.usage else None,
                            ":cost": bill.cost,
                        },
                    ),
                )
            )
        try:
            await self._table.transact(writes)
        except TransactionRefusedError as refused:
            behind(refused, len(money))
            raise TurnLostError from None
        return billed

    async def _renew(self, turn: Turn, lease_expires_at: int) -> Item | None:
        mine = _mine(turn)
        renew = Expression(
            mine.condition,
            update="SET lease_expires_at = :lease",
            names=mine.names,
            values={**(mine.values or {}), ":lease": lease_expires_at},
        )
        try:
            return await self._table.update(Update(keys.turn_key(turn.turn_id), renew))
        except ConditionFailedError:
            return None

    def _end(self, turn: Turn, ended: Turn, ending: Ending, message: Message | None) -> list[Write]:
        """The session comes first, and the turn behind it."""
        return [
            _release(turn, ending.at, message),
            Put(turn_item(ended, self._retention), _mine(turn)),
            *([Put(message_item(message), NEW)] if message else []),
            *(
                Put(item, _newest(turn))
                for item in event_items(turn, ending.events, self._retention)
            ),
        ]


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _given_way(attempt: int, deadline: float) -> bool:
    """Waits a while; False when the next try would come too late."""
    wait = pause(attempt)
    if _now() + wait > deadline:
        return False
    await asyncio.sleep(wait)
    return True


def _take(session: Session, moved: Session, at: datetime) -> Update:
    """Takes the session's next places and its one place for a turn, if nobody else did."""
    used, values = use(session.session_id, at)
    return Update(
        keys.session_key(session.session_id),
        Expression(
            f"{VISIBLE} AND next_sequence = :expected AND #status = :active"
            " AND attribute_not_exists(turn_id)",
            update=f"SET next_sequence = :next, turn_id = :turn, {used}",
            names={"#status": "status"},
            values={
                ":expected": session.next_sequence,
                ":active": "active",
                ":next": moved.next_sequence,
                ":turn": moved.turn_id,
                **values,
            },
        ),
    )


def _release(turn: Turn, at: datetime, message: Message | None) -> Update:
    """Lets go of the session, whose next place the answer takes."""
    condition = f"{VISIBLE} AND turn_id = :turn"
    used, values = use(turn.session_id, at)
    update = f"SET {used}"
    values[":turn"] = turn.turn_id
    if message is not None:
        condition += " AND next_sequence = :expected"
        update += ", next_sequence = :next"
        values |= {":expected": message.sequence, ":next": message.sequence + 1}
    return Update(
        keys.session_key(turn.session_id),
        Expression(condition, update=f"{update} REMOVE turn_id", values=values),
    )


def _free(item: Item | None, turn: Turn) -> Session:
    """The session as it is; raises what keeps the turn from it."""
    if item is None or "deleted_at" in item:
        raise SessionNotFoundError
    session = session_from(item)
    if session.status != "active":
        raise SessionNotActiveError(f"The session's status is {session.status}.")
    if session.turn_id is not None and session.turn_id != turn.turn_id:
        raise SessionOccupiedError(session.turn_id)
    return session


def _next_place(refused: TransactionRefusedError, turn: Turn) -> int:
    """Where the answer is tried again; raises where it has no place at all."""
    if _SESSION not in refused.failed:
        _lost()
    item = refused.items.get(_SESSION)
    if item is None or "deleted_at" in item:
        raise SessionNotFoundError
    session = session_from(item)
    if session.turn_id != turn.turn_id:
        _lost()
    return session.next_sequence


def _lost() -> Never:
    raise TurnLostError


def _mine(turn: Turn) -> Expression:
    """The attempt is still in the state that its owner knows."""
    return Expression(
        _MINE,
        names={"#status": "status"},
        values={":attempt": turn.attempt, ":status": turn.status},
    )


def _left(turn: Turn) -> Expression:
    """The same, and its owner has not come back to it."""
    mine = _mine(turn)
    return replace(
        mine,
        condition=f"{mine.condition} AND lease_expires_at = :lease",
        values={**(mine.values or {}), ":lease": turn.lease_expires_at},
    )


def _newest(turn: Turn) -> Expression:
    """A late write of an attempt that was taken over replaces nothing."""
    return Expression(
        "attribute_not_exists(pk) OR attempt <= :attempt", values={":attempt": turn.attempt}
    )


def _answer(turn: Turn, sequence: int, draft: Draft | None) -> Message | None:
    if draft is None:
        return None
    return Message(turn.session_id, turn.session_number, sequence, draft)
