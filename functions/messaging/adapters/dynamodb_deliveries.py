"""Deliveries of webhooks and their attempts, beside their event.

| pk         | sk                                  | attributes                                   |
|------------|-------------------------------------|----------------------------------------------|
| EVENT#<id> | DELIVERY#<subscription>[#<replay>]  | those of Delivery, lease_token, lease_until, |
|            |                                     | redrive_id, made (of the write), expires_at  |
| EVENT#<id> | ATTEMPT#<subscription>#<replay>#<n> | those of Attempt, expires_at                 |

gsi1 has a delivery under DELIVERIES#<subscription> / <created_at>#<event>#<replay>; gsi2, until it
is over, under DUE#<shard> / <when the sweep is to look after it>.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import cast

from contracts.messaging.subscriptions import MAX_ATTEMPTS_TOLD
from functions.messaging.adapters.dynamodb_life import event_pk
from functions.messaging.adapters.dynamodb_subscriptions import PARTITION, subscription_from
from functions.messaging.adapters.webhook_keys import (
    DELIVERIES_INDEX,
    DUE_INDEX,
    due_keys,
    due_partition,
)
from functions.messaging.domain.webhook_deliveries import (
    Attempt,
    Delivery,
    DeliveryKey,
    DeliveryPage,
    LoggedDelivery,
    State,
)
from functions.messaging.domain.webhook_ports import Due, DueDelivery
from servicekit.clock import from_text, to_text
from servicekit.dynamodb import (
    ConditionFailedError,
    DynamoTable,
    Expression,
    Item,
    Key,
    Put,
    TransactionRefusedError,
    Update,
    Value,
)
from servicekit.ids import new_ulid
from servicekit.paging import InvalidCursorError, decode_cursor, encode_cursor

_PREFIX = "DELIVERY#"
_ATTEMPT_PREFIX = "ATTEMPT#"
_NAMES = {"#state": "state", "#error": "error"}
_CURSOR_NAMES = {"pk", "sk", "gsi1pk", "gsi1sk"}


class DynamoDeliveries:
    """`webhook_ports.DeliveryStore` and `webhook_ports.DueStore`."""

    def __init__(self, table: DynamoTable, retention_days: int) -> None:
        self._table = table
        self._kept = timedelta(days=retention_days)

    async def create(self, delivery: Delivery, due_at: datetime) -> bool:
        """See `DeliveryStore`."""
        key = delivery.key
        item: Item = {
            **_key(key),
            "event_id": key.event_id,
            "subscription_id": key.subscription_id,
            "replay_id": key.replay_id,
            "event_type": delivery.event_type,
            "tenant": delivery.tenant,
            "ordering_key": delivery.ordering_key,
            "state": delivery.state,
            "attempts": delivery.attempts,
            "earlier": delivery.earlier,
            "rounds": delivery.rounds,
            "error": delivery.error,
            "created_at": to_text(delivery.created_at),
            "next_attempt_at": to_text(delivery.next_attempt_at),
            "expires_at": self._expiry(delivery),
            "made": new_ulid(),
            "gsi1pk": _of_subscription(key.subscription_id),
            "gsi1sk": f"{to_text(delivery.created_at)}#{key.event_id}#{key.replay_id or ''}",
            **due_keys(key.event_id, due_at),
        }
        try:
            await self._table.put(Put(item, Expression("attribute_not_exists(pk)")))
        except ConditionFailedError as failure:
            # The SDK repeats a call whose answer was lost: it may have been this very one.
            return failure.item == item
        return True

    async def get(self, key: DeliveryKey) -> Delivery | None:
        """See `DeliveryStore`."""
        item = await self._table.get(_key(key))
        return _delivery(item) if item else None

    async def lease(self, delivery: Delivery, token: str, now: datetime, until: datetime) -> bool:
        """See `DeliveryStore`."""
        due = due_keys(delivery.key.event_id, until)
        free = Expression(
            "#state = :pending AND attempts = :attempts"
            " AND (attribute_not_exists(lease_until) OR lease_until <= :now)",
            update="SET lease_token = :token, lease_until = :until,"
            " gsi2pk = :shard, gsi2sk = :until",
            names={"#state": "state"},
            values={
                ":pending": "pending",
                ":attempts": delivery.attempts,
                ":now": to_text(now),
                ":token": token,
                ":until": to_text(until),
                ":shard": due["gsi2pk"],
            },
        )
        try:
            await self._table.update(Update(_key(delivery.key), free))
        except ConditionFailedError as failure:
            return failure.item is not None and failure.item.get("lease_token") == token
        return True

    async def record(
        self, delivery: Delivery, attempt: Attempt, token: str, due_at: datetime | None
    ) -> bool:
        """See `DeliveryStore`."""
        leased = self._moved(delivery, due_at, "lease_token = :token", {":token": token})
        log = {
            "pk": event_pk(delivery.key.event_id),
            "sk": _attempt_sk(delivery.key, attempt.number),
            "at": to_text(attempt.at),
            "status": attempt.status,
            "latency_ms": attempt.latency_ms,
            "error": attempt.error,
            "answer": attempt.answer,
            "expires_at": self._expiry(delivery),
        }
        try:
            await self._table.transact(
                [
                    Update(_key(delivery.key), leased),
                    # An attempt has its number from the delivery, which changes along with it.
                    Put(log, Expression("attribute_not_exists(pk)")),
                ]
            )
        except TransactionRefusedError:
            return False
        return True

    async def give_up(self, delivery: Delivery, error: str, due_at: datetime) -> bool:
        """See `DeliveryStore`."""
        unleased = Expression(
            "#state = :pending AND attempts = :attempts"
            " AND (attribute_not_exists(lease_until) OR lease_until <= :due)",
            update="SET #state = :dying, #error = :error, gsi2pk = :shard, gsi2sk = :due"
            " REMOVE lease_token, lease_until",
            names=_NAMES,
            values={
                ":pending": "pending",
                ":attempts": delivery.attempts,
                ":dying": "dying",
                ":error": error,
                ":shard": due_keys(delivery.key.event_id, due_at)["gsi2pk"],
                ":due": to_text(due_at),
            },
        )
        return await self._update(delivery.key, unleased)

    async def finish(self, delivery: Delivery) -> None:
        """See `DeliveryStore`."""
        over = Expression(
            "#state = :dying",
            update="SET #state = :dead REMOVE gsi2pk, gsi2sk",
            names={"#state": "state"},
            values={":dying": "dying", ":dead": "dead"},
        )
        await self._update(delivery.key, over)

    async def rearm(self, delivery: Delivery, redrive_id: str, due_at: datetime) -> bool:
        """See `DeliveryStore`."""
        dead = self._moved(
            delivery,
            due_at,
            "#state = :dead AND attempts = :attempts",
            {":dead": "dead", ":redrive": redrive_id},
            sets=", redrive_id = :redrive",
        )
        return await self._update(delivery.key, dead)

    async def of_event(self, event_id: str, subscription_id: str) -> list[tuple[Delivery, str]]:
        """See `DeliveryStore`."""
        page = await self._table.query(
            "pk = :pk AND begins_with(sk, :sk)",
            {":pk": event_pk(event_id), ":sk": f"{_PREFIX}{subscription_id}"},
        )
        return [(_delivery(item), str(item.get("redrive_id") or "")) for item in page.items]

    async def page(self, subscription_id: str, limit: int, cursor: str | None) -> DeliveryPage:
        """See `DeliveryStore`."""
        partition = _of_subscription(subscription_id)
        page = await self._table.query(
            "gsi1pk = :pk",
            {":pk": partition},
            index=DELIVERIES_INDEX,
            limit=limit,
            forward=False,
            start=_start(cursor, partition) if cursor else None,
        )
        deliveries = [_delivery(item) for item in page.items]
        keys = [_attempt_key(one, number) for one in deliveries for number in _told(one)]
        logs = {(item["pk"], item["sk"]): item for item in await self._table.get_batch(keys)}
        last = page.last_key
        return DeliveryPage(
            [LoggedDelivery(one, _log(one, logs)) for one in deliveries],
            encode_cursor(json.dumps(last), partition) if last else None,
        )

    async def due(self, shard: int, now: datetime, limit: int) -> Due:
        """See `DueStore`."""
        page = await self._table.query(
            "gsi2pk = :pk AND gsi2sk <= :now",
            {":pk": due_partition(shard), ":now": to_text(now)},
            index=DUE_INDEX,
            limit=limit,
        )
        deliveries = [item for item in page.items if str(item["sk"]).startswith(_PREFIX)]
        disabled = [item for item in page.items if item["pk"] == PARTITION]
        return Due(
            [DueDelivery(_delivery(item), str(item["gsi2sk"])) for item in deliveries],
            [subscription_from(item) for item in disabled],
        )

    async def postpone(self, found: DueDelivery, until: datetime) -> None:
        """See `DueStore`."""
        unmoved = Expression(
            "gsi2sk = :found",
            update="SET gsi2sk = :until",
            values={":found": found.due_at, ":until": to_text(until)},
        )
        await self._update(found.delivery.key, unmoved)

    def _moved(
        self,
        delivery: Delivery,
        due_at: datetime | None,
        condition: str,
        values: Mapping[str, Value],
        sets: str = "",
    ) -> Expression:
        """To the delivery as it is now, with its lease over."""
        due = due_keys(delivery.key.event_id, due_at) if due_at else {}
        indexed = ", gsi2pk = :gsi2pk, gsi2sk = :gsi2sk" if due else ""
        return Expression(
            condition,
            update="SET #state = :state, attempts = :attempts, earlier = :earlier,"
            " rounds = :rounds, #error = :error, next_attempt_at = :next, ordering_key = :ordering"
            f"{indexed}{sets} REMOVE lease_token, lease_until{'' if due else ', gsi2pk, gsi2sk'}",
            names=_NAMES,
            values={
                ":state": delivery.state,
                ":attempts": delivery.attempts,
                ":earlier": delivery.earlier,
                ":rounds": delivery.rounds,
                ":error": delivery.error,
                ":next": to_text(delivery.next_attempt_at),
                ":ordering": delivery.ordering_key,
                **{f":{name}": value for name, value in due.items()},
                **values,
            },
        )

    async def _update(self, key: DeliveryKey, expression: Expression) -> bool:
        try:
            await self._table.update(Update(_key(key), expression))
        except ConditionFailedError:
            return False
        return True

    def _expiry(self, delivery: Delivery) -> int:
        return int((delivery.created_at + self._kept).timestamp())


def _key(key: DeliveryKey) -> Key:
    replay = f"#{key.replay_id}" if key.replay_id else ""
    return {"pk": event_pk(key.event_id), "sk": f"{_PREFIX}{key.subscription_id}{replay}"}


def _of_subscription(subscription_id: str) -> str:
    return f"DELIVERIES#{subscription_id}"


def _attempt_sk(key: DeliveryKey, number: int) -> str:
    return f"{_ATTEMPT_PREFIX}{key.subscription_id}#{key.replay_id or ''}#{number:04}"


def _attempt_key(delivery: Delivery, number: int) -> Key:
    return {"pk": event_pk(delivery.key.event_id), "sk": _attempt_sk(delivery.key, number)}


def _told(delivery: Delivery) -> range:
    """The numbers of the attempts that a list tells."""
    last = delivery.attempts
    return range(max(1, last - MAX_ATTEMPTS_TOLD + 1), last + 1)


def _log(delivery: Delivery, logs: Mapping[tuple[Value, Value], Item]) -> list[Attempt]:
    found = []
    for number in _told(delivery):
        key = _attempt_key(delivery, number)
        item = logs.get((key["pk"], key["sk"]))
        if item is not None:
            found.append(_attempt(number, item))
    return found


def _attempt(number: int, item: Item) -> Attempt:
    return Attempt(
        number=number,
        at=from_text(str(item["at"])),
        latency_ms=cast("int", item["latency_ms"]),
        status=cast("int | None", item["status"]),
        error=cast("str | None", item["error"]),
        answer=str(item["answer"]),
    )


def _delivery(item: Item) -> Delivery:
    return Delivery(
        key=DeliveryKey(
            str(item["event_id"]),
            str(item["subscription_id"]),
            cast("str | None", item["replay_id"]),
        ),
        event_type=str(item["event_type"]),
        tenant=str(item["tenant"]),
        created_at=from_text(str(item["created_at"])),
        next_attempt_at=from_text(str(item["next_attempt_at"])),
        ordering_key=cast("str | None", item["ordering_key"]),
        state=cast("State", item["state"]),
        attempts=cast("int", item["attempts"]),
        earlier=cast("int", item["earlier"]),
        rounds=cast("int", item["rounds"]),
        error=cast("str | None", item["error"]),
    )


def _start(cursor: str, partition: str) -> Item:
    """Where the page before ended. Raises `InvalidCursorError`."""
    try:
        start = json.loads(decode_cursor(cursor, partition))
    except ValueError:
        raise InvalidCursorError from None
    if (
        not isinstance(start, dict)
        or start.keys() != _CURSOR_NAMES
        or not all(isinstance(value, str) for value in start.values())
        or start["gsi1pk"] != partition
    ):
        raise InvalidCursorError
    return cast("Item", start)
