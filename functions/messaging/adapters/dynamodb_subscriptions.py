"""Subscriptions in the service's table, and apart from them their secrets.

| pk             | sk      | attributes                                              |
|----------------|---------|---------------------------------------------------------|
| SUBSCRIPTIONS  | <id>    | those of Subscription; in gsi2 while untold: DUE#<shard> |
| SECRETS#<id>   | SECRETS | current, former, former_until                           |

Secrets have a partition of their own: whoever lists or matches subscriptions may not read them.
"""

from __future__ import annotations

import json
from typing import cast

from functions.messaging.adapters.webhook_keys import due_keys
from functions.messaging.domain.subscriptions import (
    Disabled,
    Reason,
    Subscription,
    SubscriptionPage,
)
from functions.messaging.domain.webhook_signing import Secrets
from servicekit.clock import from_text, to_text
from servicekit.dynamodb import (
    ConditionFailedError,
    Delete,
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
from servicekit.idempotency import ClaimUpdate, IdempotencyInProgressError
from servicekit.paging import decode_cursor, encode_cursor

PARTITION = "SUBSCRIPTIONS"
SECRETS_PREFIX = "SECRETS#"

_SECRETS_SK = "SECRETS"
_LIST = "subscriptions"


class DynamoSubscriptions:
    """`webhook_ports.SubscriptionStore`."""

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    async def create(
        self, subscription: Subscription, secrets: Secrets, update: ClaimUpdate | None
    ) -> None:
        """See `SubscriptionStore`."""
        new = Expression("attribute_not_exists(pk)")
        secret_item = {**_secrets_key(subscription.subscription_id), **_secret_values(secrets)}
        writes: list[Write] = [Put(subscription_item(subscription), new), Put(secret_item, new)]
        if update is not None:
            writes.append(claim_write(update))
        try:
            await self._table.transact(writes)
        except TransactionRefusedError:
            # Ids are new: it is the claim, which another request has taken over.
            raise IdempotencyInProgressError(retry_after=1) from None

    async def get(self, subscription_id: str) -> Subscription | None:
        """See `SubscriptionStore`."""
        item = await self._table.get(_key(subscription_id))
        return subscription_from(item) if item else None

    async def all(self) -> list[Subscription]:
        """See `SubscriptionReader`."""
        found: list[Subscription] = []
        start: Item | None = None
        while True:
            page = await self._table.query("pk = :pk", {":pk": PARTITION}, start=start)
            found += [subscription_from(item) for item in page.items]
            start = page.last_key
            if not start:
                return found

    async def count(self) -> int:
        """See `SubscriptionStore`."""
        return await self._table.count("pk = :pk", {":pk": PARTITION})

    async def page(self, limit: int, cursor: str | None) -> SubscriptionPage:
        """See `SubscriptionStore`."""
        start = _key(decode_cursor(cursor, _LIST)) if cursor else None
        page = await self._table.query(
            "pk = :pk", {":pk": PARTITION}, limit=limit, start=cast("Item | None", start)
        )
        found = [subscription_from(item) for item in page.items]
        last = page.last_key
        return SubscriptionPage(found, encode_cursor(str(last["sk"]), _LIST) if last else None)

    async def replace(self, subscription: Subscription) -> bool:
        """See `SubscriptionStore`."""
        before = Expression(
            "#version = :before",
            names={"#version": "version"},
            values={":before": subscription.version - 1},
        )
        item = subscription_item(subscription)
        try:
            await self._table.put(Put(item, before))
        except ConditionFailedError as failure:
            # The SDK repeats a call whose answer was lost: it may have been this very one.
            return failure.item == item
        return True

    async def remove(self, subscription_id: str) -> bool:
        """See `SubscriptionStore`."""
        there = Expression("attribute_exists(pk)")
        try:
            await self._table.transact(
                [Delete(_key(subscription_id), there), Delete(_secrets_key(subscription_id), there)]
            )
        except TransactionRefusedError:
            return False
        return True

    async def secrets(self, subscription_id: str) -> Secrets | None:
        """See `SubscriptionStore`."""
        item = await self._table.get(_secrets_key(subscription_id))
        if item is None:
            return None
        until = item["former_until"]
        return Secrets(
            str(item["current"]),
            cast("str | None", item["former"]),
            from_text(str(until)) if until else None,
        )

    async def rotate(
        self,
        subscription_id: str,
        before: Secrets,
        after: Secrets,
        update: ClaimUpdate | None = None,
    ) -> bool:
        """See `SubscriptionStore`."""
        item = {**_secrets_key(subscription_id), **_secret_values(after)}
        same = Expression(
            "#current = :before", names={"#current": "current"}, values={":before": before.current}
        )
        writes: list[Write] = [Put(item, same), *([claim_write(update)] if update else [])]
        try:
            await self._table.transact(writes)
        except TransactionRefusedError:
            return False
        return True

    async def mark_announced(self, subscription: Subscription) -> None:
        """See `SubscriptionStore`."""
        told = Expression(
            "#version = :version",
            update="SET announced = :told REMOVE gsi2pk, gsi2sk",
            names={"#version": "version"},
            values={":version": subscription.version, ":told": True},
        )
        try:
            await self._table.update(Update(_key(subscription.subscription_id), told))
        except ConditionFailedError:
            # Changed or removed since: it is of no account any more.
            return


def subscription_item(subscription: Subscription) -> Item:
    """As it is stored."""
    disabled = subscription.disabled
    item: Item = {
        "pk": PARTITION,
        "sk": subscription.subscription_id,
        "url": subscription.url,
        "types": json.dumps(list(subscription.types)),
        "filter": None if subscription.filter is None else json.dumps(dict(subscription.filter)),
        "description": subscription.description,
        "ordered": subscription.ordered,
        "max_concurrency": subscription.max_concurrency,
        "version": subscription.version,
        "since": to_text(subscription.since),
        "created_at": to_text(subscription.created_at),
        "updated_at": to_text(subscription.updated_at),
        "disabled_reason": disabled.reason if disabled else None,
        "disabled_at": to_text(disabled.at) if disabled else None,
        "announced": subscription.announced,
    }
    if not subscription.announced:
        item.update(due_keys(subscription.subscription_id, subscription.updated_at))
    return item


def subscription_from(item: Item) -> Subscription:
    """The inverse of `subscription_item`."""
    wanted = item["filter"]
    reason, at = item["disabled_reason"], item["disabled_at"]
    return Subscription(
        subscription_id=str(item["sk"]),
        url=str(item["url"]),
        types=tuple(json.loads(str(item["types"]))),
        filter=None if wanted is None else json.loads(str(wanted)),
        description=str(item["description"]),
        ordered=bool(item["ordered"]),
        max_concurrency=cast("int", item["max_concurrency"]),
        version=cast("int", item["version"]),
        since=from_text(str(item["since"])),
        created_at=from_text(str(item["created_at"])),
        updated_at=from_text(str(item["updated_at"])),
        disabled=Disabled(cast("Reason", reason), from_text(str(at))) if reason else None,
        announced=bool(item["announced"]),
    )


def _key(subscription_id: str) -> Key:
    return {"pk": PARTITION, "sk": subscription_id}


def _secrets_key(subscription_id: str) -> Key:
    return {"pk": f"{SECRETS_PREFIX}{subscription_id}", "sk": _SECRETS_SK}


def _secret_values(secrets: Secrets) -> dict[str, Value]:
    until = secrets.former_until
    return {
        "current": secrets.current,
        "former": secrets.former,
        "former_until": to_text(until) if until else None,
    }
