"""Topics' logs in the service's table.

| pk                 | sk                  | attributes                                          |
|--------------------|---------------------|-----------------------------------------------------|
| PROGRESS#<topic>   | HEAD                | last, expires_at                                    |
| PROGRESS#<topic>   | <sequence, padded>  | sequence, at, data (JSON), terminal, expires_at     |
| PROGRESS#<topic>   | ID#<event id>       | sequence, at, fingerprint, expires_at               |

The head moves from n to n + 1 in the transaction that writes message n + 1, so however many post
and whatever crashes, sequences have no gap. It is kept longer than messages are: as long as it is
there a topic goes on where it was.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections import OrderedDict
from datetime import timedelta
from typing import cast

from functions.messaging.domain.progress import Message, NewMessage
from functions.messaging.domain.progress_errors import ProgressConflictError
from servicekit.backoff import full_jitter
from servicekit.clock import Clock, from_text, to_text
from servicekit.dynamodb import (
    DynamoTable,
    Expression,
    Item,
    Key,
    Put,
    TransactionRefusedError,
    Update,
    Write,
    WriteConflictError,
)
from servicekit.errors import StoreUnavailableError

KEPT = timedelta(days=1)
HEAD_KEPT = timedelta(days=30)

_PATIENCE_SECONDS = 5.0
_BACKOFF_SECONDS = 0.01
_MAX_DOUBLINGS = 5
_DIGITS = 16
_REMEMBERED = 1_000
_NEW = Expression("attribute_not_exists(pk)")


class DynamoProgress:
    """`progress.ProgressLog`: one transaction a message, as long as this process alone posts to its
    topic.
    """

    def __init__(self, table: DynamoTable, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._last: OrderedDict[str, int] = OrderedDict()

    async def append(self, new: NewMessage) -> Message:
        """See `ProgressLog`."""
        timer = asyncio.get_running_loop().time
        deadline = timer() + _PATIENCE_SECONDS
        for attempt in itertools.count():
            try:
                return await self._append(new)
            except _MovedError:
                # The first refusal only tells how far others have come.
                pause = _pause(attempt) if attempt else 0
            except WriteConflictError:
                pause = _pause(attempt)
            if timer() + pause > deadline:
                break
            await asyncio.sleep(pause)
        raise StoreUnavailableError(retry_after=1)

    async def head(self, topic: str) -> int:
        """See `ProgressLog`."""
        item = await self._table.get(_key(topic, "HEAD"))
        return cast("int", item["last"]) if item else 0

    async def after(self, topic: str, sequence: int, limit: int) -> list[Message]:
        """See `ProgressLog`."""
        page = await self._table.query(
            "pk = :pk AND sk BETWEEN :first AND :last",
            {":pk": _pk(topic), ":first": _sk(sequence + 1), ":last": "9" * _DIGITS},
            limit=limit,
        )
        now = self._clock().timestamp()
        return [
            _message(topic, item) for item in page.items if cast("int", item["expires_at"]) > now
        ]

    async def _append(self, new: NewMessage) -> Message:
        now = self._clock()
        last = self._last.get(new.topic, 0)
        message = Message(
            topic=new.topic, sequence=last + 1, at=now, data=new.data, terminal=new.terminal
        )
        expires_at = int((now + KEPT).timestamp())
        writes: list[Write] = [
            _advance(new.topic, last, int((now + HEAD_KEPT).timestamp())),
            Put(_item(message, expires_at), _NEW),
        ]
        if new.event_id is not None:
            writes.append(Put(_id_item(new, message, expires_at), _NEW))
        try:
            await self._table.transact(writes, attempts=1)
        except TransactionRefusedError as refused:
            if new.event_id is not None:
                repeated = await self._repeated(new)
                if repeated is not None:
                    return repeated
            head = refused.items.get(0)
            moved = cast("int", head["last"]) if head else await self.head(new.topic)
            self._remember(new.topic, moved)
            raise _MovedError from None
        self._remember(new.topic, message.sequence)
        return message

    async def _repeated(self, new: NewMessage) -> Message | None:
        """The message that has the event id already. Raises `ProgressConflictError`."""
        item = await self._table.get(_key(new.topic, f"ID#{new.event_id}"))
        if item is None:
            return None
        if item["fingerprint"] != _fingerprint(new):
            raise ProgressConflictError
        return Message(
            topic=new.topic,
            sequence=cast("int", item["sequence"]),
            at=from_text(str(item["at"])),
            data=new.data,
            terminal=new.terminal,
        )

    def _remember(self, topic: str, last: int) -> None:
        self._last[topic] = last
        self._last.move_to_end(topic)
        while len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)


class _MovedError(Exception):
    """The topic's head is elsewhere than this process thought."""


def _advance(topic: str, last: int, expires_at: int) -> Update:
    condition = "#last = :last" if last else "attribute_not_exists(pk)"
    return Update(
        _key(topic, "HEAD"),
        Expression(
            condition,
            update="SET #last = :next, expires_at = :expiry",
            names={"#last": "last"},
            values={":next": last + 1, ":expiry": expires_at} | ({":last": last} if last else {}),
        ),
    )


def _item(message: Message, expires_at: int) -> Item:
    return {
        **_key(message.topic, _sk(message.sequence)),
        "sequence": message.sequence,
        "at": to_text(message.at),
        "data": message.data,
        "terminal": message.terminal,
        "expires_at": expires_at,
    }


def _id_item(new: NewMessage, message: Message, expires_at: int) -> Item:
    return {
        **_key(new.topic, f"ID#{new.event_id}"),
        "sequence": message.sequence,
        "at": to_text(message.at),
        "fingerprint": _fingerprint(new),
        "expires_at": expires_at,
    }


def _message(topic: str, item: Item) -> Message:
    return Message(
        topic=topic,
        sequence=cast("int", item["sequence"]),
        at=from_text(str(item["at"])),
        data=str(item["data"]),
        terminal=bool(item["terminal"]),
    )


def _fingerprint(new: NewMessage) -> str:
    return hashlib.sha256(f"{new.terminal}\0{new.data}".encode()).hexdigest()


def _pk(topic: str) -> str:
    return f"PROGRESS#{topic}"


def _key(topic: str, sk: str) -> Key:
    return {"pk": _pk(topic), "sk": sk}


def _sk(sequence: int) -> str:
    return f"{sequence:0{_DIGITS}}"


def _pause(attempt: int) -> float:
    return full_jitter(min(attempt, _MAX_DOUBLINGS), _BACKOFF_SECONDS)
