"""Sessions, their leases and their places in the service's table.

| pk             | sk      | attributes                                                            |
|----------------|---------|-----------------------------------------------------------------------|
| SESSION#<id>   | SESSION | principal, user_id, project_id, metadata (JSON), created_at,          |
|                |         | last_activity, due_at, page_count, continuity, epoch, live_epoch,     |
|                |         | env_id, checkpoint_epoch, state (open, closed, expired);              |
|                |         | while a command is in flight: lease_token, lease_until;               |
|                |         | while open: gsi1 OPENED#<principal> / <created_at>#<id>,              |
|                |         | gsi2 DUE / <due_at>#<id>; after its end: ended_at, expires_at         |
| PLACES#<scope> | PLACES  | held                                                                  |

Times are texts that sort as they follow each other. Places are taken and given back in the
transaction that opens or ends a session: no crash leaves one taken by nobody.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import cast

from functions.browser.domain.leases import Busy, Lease
from functions.browser.domain.sessions import (
    Continuity,
    EndReason,
    Session,
    Slot,
    SlotTakenError,
)
from servicekit.clock import from_text, to_text
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
    claim_write,
)
from servicekit.errors import StoreUnavailableError
from servicekit.idempotency import ClaimUpdate

_SK = "SESSION"
_PLACES = "PLACES"
_DUE = "DUE"
_OPEN = "open"
# For whoever asks what became of it.
_KEPT = timedelta(days=1)
_STATE = {"#state": "state"}
_FREE = "(attribute_not_exists(lease_token) OR lease_until <= :now)"


class DynamoSessions:
    """`sessions.SessionStore` and `leases.LeaseStore`."""

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    async def create(
        self, session: Session, taken: Sequence[Slot], update: ClaimUpdate | None
    ) -> None:
        """See `SessionStore`."""
        writes: list[Write] = [_take_place(slot) for slot in taken]
        writes.append(Put(_item(session), NEW))
        if update is not None:
            writes.append(claim_write(update))
        try:
            await self._table.transact(writes)
        except TransactionRefusedError as refused:
            for position, slot in enumerate(taken):
                if position in refused.failed:
                    raise SlotTakenError(slot) from None
            raise StoreUnavailableError(retry_after=1) from None

    async def find(self, session_id: str) -> Session | None:
        """See `SessionStore`."""
        item = await self._table.get(_key(session_id))
        return _session(item) if item is not None and item["state"] == _OPEN else None

    async def opened_by(self, principal: str) -> list[Session]:
        """See `SessionStore`."""
        found: list[Session] = []
        start: Item | None = None
        while True:
            page = await self._table.query(
                "gsi1pk = :pk", {":pk": _opened(principal)}, index="gsi1", start=start
            )
            found += [_session(item) for item in page.items]
            start = page.last_key
            if start is None:
                return found

    async def end(
        self, session: Session, taken: Sequence[Slot], reason: EndReason, now: datetime
    ) -> bool:
        """See `SessionStore`."""
        condition = "#state = :open"
        values: dict[str, Value] = {
            ":open": _OPEN,
            ":state": reason,
            ":ended": to_text(now),
            ":expires": int((now + _KEPT).timestamp()),
        }
        if reason == "expired":
            condition += f" AND due_at <= :now AND {_FREE}"
            values[":now"] = to_text(now)
        ended = Expression(
            condition,
            "SET #state = :state, ended_at = :ended, expires_at = :expires"
            " REMOVE gsi1pk, gsi1sk, gsi2pk, gsi2sk, lease_token, lease_until",
            _STATE,
            values,
        )
        places = [_give_place_back(slot) for slot in taken]
        try:
            await self._table.transact([Update(_key(session.session_id), ended), *places])
        except TransactionRefusedError as refused:
            if 0 in refused.failed:
                return False
            raise StoreUnavailableError(retry_after=1) from None
        return True

    async def due(self, now: datetime, limit: int) -> list[Session]:
        """See `SessionStore`."""
        page = await self._table.query(
            "gsi2pk = :pk AND gsi2sk <= :until",
            # A tilde comes after every character of an id.
            {":pk": _DUE, ":until": f"{to_text(now)}#~"},
            index="gsi2",
            limit=limit,
        )
        return [_session(item) for item in page.items]

    async def held(self, scope: str) -> int:
        """See `SessionStore`."""
        item = await self._table.get(_place(scope))
        return cast("int", item["held"]) if item else 0

    async def take(
        self, session_id: str, token: str, until: datetime, now: datetime
    ) -> Lease | Busy | None:
        """See `LeaseStore`."""
        taking = Expression(
            f"#state = :open AND due_at > :now AND ({_FREE} OR lease_token = :token)",
            # The SDK repeats a call whose answer was lost: an epoch more does no harm.
            "SET lease_token = :token, lease_until = :until, epoch = epoch + :one",
            _STATE,
            {
                ":open": _OPEN,
                ":now": to_text(now),
                ":token": token,
                ":until": to_text(until),
                ":one": 1,
            },
        )
        try:
            item = await self._table.update(Update(_key(session_id), taking))
        except ConditionFailedError as failure:
            found = failure.item
            if not found or found["state"] != _OPEN:
                return None
            busy_until = _session(found).busy_until
            return Busy(busy_until) if busy_until is not None and busy_until > now else None
        session = _session(item)
        return Lease(session, token, session.epoch)

    async def give_back(self, lease: Lease, after: Session | None) -> bool:
        """See `LeaseStore`."""
        sets, values = "", cast("dict[str, Value]", {})
        if after is not None:
            changed = _changing(after) | {"gsi2sk": _due_key(after)}
            sets = "SET " + ", ".join(f"{name} = :{name}" for name in changed) + " "
            values = {f":{name}": value for name, value in changed.items()}
        giving = Expression(
            "#state = :open AND lease_token = :token",
            f"{sets}REMOVE lease_token, lease_until",
            _STATE,
            {":open": _OPEN, ":token": lease.token, **values},
        )
        try:
            await self._table.change(Update(_key(lease.session.session_id), giving))
        except ConditionFailedError:
            return False
        return True


def _key(session_id: str) -> Key:
    return {"pk": f"SESSION#{session_id}", "sk": _SK}


def _place(scope: str) -> Key:
    return {"pk": f"PLACES#{scope}", "sk": _PLACES}


def _opened(principal: str) -> str:
    return f"OPENED#{principal}"


def _due_key(session: Session) -> str:
    return f"{to_text(session.due_at)}#{session.session_id}"


def _take_place(slot: Slot) -> Update:
    return Update(
        _place(slot.scope),
        Expression(
            "attribute_not_exists(held) OR held < :most",
            "SET held = if_not_exists(held, :none) + :one",
            values={":most": slot.most, ":none": 0, ":one": 1},
        ),
    )


def _give_place_back(slot: Slot) -> Update:
    return Update(
        _place(slot.scope),
        Expression("held > :none", "SET held = held - :one", values={":none": 0, ":one": 1}),
    )


def _changing(session: Session) -> dict[str, Value]:
    return {
        "last_activity": to_text(session.last_activity),
        "due_at": to_text(session.due_at),
        "page_count": session.page_count,
        "continuity": session.continuity,
        "epoch": session.epoch,
        "live_epoch": session.live_epoch,
        "env_id": session.env_id,
        "checkpoint_epoch": session.checkpoint_epoch,
    }


def _item(session: Session) -> Item:
    created_at = to_text(session.created_at)
    return {
        **_key(session.session_id),
        "session_id": session.session_id,
        "principal": session.principal,
        "user_id": session.user_id,
        "project_id": session.project_id,
        "metadata": json.dumps(session.metadata),
        "created_at": created_at,
        "state": _OPEN,
        **_changing(session),
        "gsi1pk": _opened(session.principal),
        "gsi1sk": f"{created_at}#{session.session_id}",
        "gsi2pk": _DUE,
        "gsi2sk": _due_key(session),
    }


def _session(item: Item) -> Session:
    return Session(
        session_id=str(item["session_id"]),
        principal=str(item["principal"]),
        user_id=cast("int | None", item["user_id"]),
        project_id=cast("int | None", item["project_id"]),
        metadata=json.loads(str(item["metadata"])),
        created_at=from_text(str(item["created_at"])),
        last_activity=from_text(str(item["last_activity"])),
        due_at=from_text(str(item["due_at"])),
        page_count=cast("int", item["page_count"]),
        continuity=cast("Continuity", item["continuity"]),
        epoch=cast("int", item["epoch"]),
        live_epoch=cast("int | None", item["live_epoch"]),
        env_id=cast("str | None", item["env_id"]),
        checkpoint_epoch=cast("int | None", item["checkpoint_epoch"]),
        busy_until=from_text(str(item["lease_until"])) if "lease_until" in item else None,
    )
