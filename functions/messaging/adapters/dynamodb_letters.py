"""Dead letters in the service's table.

| pk            | sk                  | attributes                                                |
|---------------|---------------------|-----------------------------------------------------------|
| DEAD#<stream> | <event>#<consumer>  | event_id, event_type, tenant, stream, consumer, error,    |
|               |                     | attempts, redrives, delivery_id, died_at, first_died_at,  |
|               |                     | state (dead, sending, redriven), redrive_id, expires_at;  |
|               |                     | while dead: gsi1 DEAD#<stream> / <died_at>#<sk>           |
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import cast

from functions.messaging.domain.dead_letters import DeadLetter
from functions.messaging.domain.letters import (
    LetterFilter,
    LetterPage,
    LetterState,
    ShelvedLetter,
    letter_key,
)
from servicekit.clock import Clock, from_text, to_text
from servicekit.dynamodb import (
    ConditionFailedError,
    DynamoTable,
    Expression,
    Item,
    Key,
    Update,
    Value,
)
from servicekit.paging import decode_cursor, encode_cursor

PK_PREFIX = "DEAD#"
INDEX = "gsi1"

_MAX_PAGES = 10
"""Of the index, for one page of an answer: a filter may leave little of each."""


class DynamoLetters:
    """`dead_letters.DeadLetterBox` and `letters.LetterShelf`."""

    def __init__(self, table: DynamoTable, clock: Clock, retention_days: int) -> None:
        self._table = table
        self._clock = clock
        self._kept = timedelta(days=retention_days)

    async def add(self, letter: DeadLetter) -> None:
        """See `DeadLetterBox`."""
        died_at = to_text(letter.died_at)
        key = letter_key(letter.event_id, letter.consumer)
        values: dict[str, Value] = {
            "event_id": letter.event_id,
            "event_type": letter.event_type,
            "tenant": letter.tenant,
            "stream": letter.stream,
            "consumer": letter.consumer,
            "error": letter.error,
            "attempts": letter.attempts,
            "delivery_id": letter.delivery_id,
            "died_at": died_at,
            "state": "dead",
            "expires_at": int((self._clock() + self._kept).timestamp()),
            "gsi1pk": f"{PK_PREFIX}{letter.stream}",
            "gsi1sk": f"{died_at}#{key}",
        }
        assignments = [f"#{name} = :{name}" for name in values]
        assignments += [
            "redrives = if_not_exists(redrives, :redrives)",
            "first_died_at = if_not_exists(first_died_at, :died_at)",
        ]
        expression = Expression(
            "attribute_not_exists(pk) OR #attempts < :attempts OR #delivery_id <> :delivery_id",
            update=f"SET {', '.join(assignments)}",
            names={f"#{name}": name for name in values},
            values={
                **{f":{name}": value for name, value in values.items()},
                ":redrives": letter.redrives,
            },
        )
        try:
            await self._table.update(Update(_key(letter.stream, key), expression))
        except ConditionFailedError:
            # This very death was told before.
            return

    async def page(
        self, stream: str, wanted: LetterFilter, limit: int, cursor: str | None
    ) -> LetterPage:
        """See `LetterShelf`."""
        query = _query_name(stream, wanted)
        start = json.loads(decode_cursor(cursor, query)) if cursor else None
        condition, values = _died_between(stream, wanted)
        filter_by, names, more = _filter(wanted)
        found: list[Item] = []
        for _ in range(_MAX_PAGES):
            page = await self._table.query(
                condition,
                {**values, **more},
                limit=limit - len(found),
                index=INDEX,
                forward=False,
                start=start,
                filter_by=filter_by,
                names=names,
            )
            found += page.items
            start = page.last_key
            if not start or len(found) == limit:
                break
        return LetterPage(
            [_letter(item) for item in found],
            encode_cursor(json.dumps(start), query) if start else None,
        )

    async def walk(self, stream: str, after: str, limit: int) -> list[ShelvedLetter]:
        """See `LetterShelf`."""
        # Every key is behind a space: sort keys are never empty.
        page = await self._table.query(
            "pk = :pk AND sk > :after",
            {":pk": f"{PK_PREFIX}{stream}", ":after": after or " "},
            limit=limit,
        )
        return [_letter(item) for item in page.items]

    async def count(self, stream: str) -> int:
        """See `LetterShelf`."""
        return await self._table.count("gsi1pk = :pk", {":pk": f"{PK_PREFIX}{stream}"}, index=INDEX)

    async def take(self, letter: ShelvedLetter, redrive_id: str) -> bool:
        """See `LetterShelf`."""
        expression = Expression(
            "#state = :dead AND died_at = :died_at",
            update="SET #state = :sending, redrive_id = :redrive, redrives = redrives + :one"
            " REMOVE gsi1pk, gsi1sk",
            names={"#state": "state"},
            values={
                ":dead": "dead",
                ":sending": "sending",
                ":died_at": to_text(letter.letter.died_at),
                ":redrive": redrive_id,
                ":one": 1,
            },
        )
        try:
            await self._table.update(Update(_place(letter), expression))
        except ConditionFailedError as refused:
            # By this call itself, when the answer to its first try was lost.
            item = refused.item or {}
            return item.get("state") == "sending" and item.get("redrive_id") == redrive_id
        return True

    async def mark_redriven(self, letters: Sequence[ShelvedLetter], redrive_id: str) -> None:
        """See `LetterShelf`."""
        await asyncio.gather(
            *(
                self._from_sending(
                    letter, redrive_id, "SET #state = :state", {":state": "redriven"}
                )
                for letter in letters
            )
        )

    async def put_back(self, letters: Sequence[ShelvedLetter], redrive_id: str) -> None:
        """See `LetterShelf`."""
        await asyncio.gather(
            *(
                self._from_sending(
                    letter,
                    redrive_id,
                    "SET #state = :state, gsi1pk = :gsi1pk, gsi1sk = :gsi1sk,"
                    " redrives = redrives - :one REMOVE redrive_id",
                    {
                        ":state": "dead",
                        ":one": 1,
                        ":gsi1pk": f"{PK_PREFIX}{letter.letter.stream}",
                        ":gsi1sk": f"{to_text(letter.letter.died_at)}#{letter.key}",
                    },
                )
                for letter in letters
            )
        )

    async def _from_sending(
        self, letter: ShelvedLetter, redrive_id: str, update: str, values: dict[str, Value]
    ) -> None:
        expression = Expression(
            "#state = :sending AND redrive_id = :redrive",
            update=update,
            names={"#state": "state"},
            values={":sending": "sending", ":redrive": redrive_id, **values},
        )
        try:
            await self._table.update(Update(_place(letter), expression))
        except ConditionFailedError:
            # It died again already, or it was done by a try whose answer was lost.
            return


def _key(stream: str, key: str) -> Key:
    return {"pk": f"{PK_PREFIX}{stream}", "sk": key}


def _place(letter: ShelvedLetter) -> Key:
    return _key(letter.letter.stream, letter.key)


def _letter(item: Item) -> ShelvedLetter:
    redrive_id = item.get("redrive_id")
    return ShelvedLetter(
        letter=DeadLetter(
            event_id=str(item["event_id"]),
            event_type=str(item["event_type"]),
            tenant=str(item["tenant"]),
            stream=str(item["stream"]),
            consumer=str(item["consumer"]),
            error=str(item["error"]),
            attempts=cast("int", item["attempts"]),
            died_at=from_text(str(item["died_at"])),
            redrives=cast("int", item["redrives"]),
            delivery_id=str(item["delivery_id"]),
        ),
        first_died_at=from_text(str(item["first_died_at"])),
        state=cast("LetterState", item["state"]),
        redrive_id=None if redrive_id is None else str(redrive_id),
    )


def _query_name(stream: str, wanted: LetterFilter) -> str:
    return f"letters {stream} {wanted}"


def _died_between(stream: str, wanted: LetterFilter) -> tuple[str, dict[str, Value]]:
    """Times are fixed in length, and what follows them in the key begins with `#`."""
    values: dict[str, Value] = {":pk": f"{PK_PREFIX}{stream}"}
    newer = to_text(wanted.newer_than) if wanted.newer_than else None
    older = to_text(wanted.older_than) if wanted.older_than else None
    if newer and older:
        # BETWEEN takes its ends too: no key is the bare time.
        low, high = (newer, older) if newer <= older else (older, older)
        return "gsi1pk = :pk AND gsi1sk BETWEEN :newer AND :older", {
            **values,
            ":newer": low,
            ":older": high,
        }
    if newer:
        return "gsi1pk = :pk AND gsi1sk >= :newer", {**values, ":newer": newer}
    if older:
        return "gsi1pk = :pk AND gsi1sk < :older", {**values, ":older": older}
    return "gsi1pk = :pk", values


def _filter(
    wanted: LetterFilter,
) -> tuple[str | None, dict[str, str] | None, dict[str, Value]]:
    exact = {
        "event_type": wanted.event_type,
        "tenant": wanted.tenant,
        "consumer": wanted.consumer,
        "error": wanted.error,
    }
    given = {name: value for name, value in exact.items() if value is not None}
    if not given:
        return None, None, {}
    return (
        " AND ".join(f"#{name} = :{name}" for name in given),
        {f"#{name}": name for name in given},
        {f":{name}": value for name, value in given.items()},
    )
