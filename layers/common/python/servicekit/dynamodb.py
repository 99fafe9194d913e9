"""One DynamoDB table, asynchronously: values, conditions, retries, batches, transactions.

Items are plain dicts of str, int, bool, bytes and None; whatever is deeper is stored as JSON text
by the adapters, which know what it is.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from servicekit.aws import LazyClient, make_client
from servicekit.backoff import full_jitter
from servicekit.errors import StoreUnavailableError
from servicekit.idempotency import ClaimUpdate, Record
from servicekit.ids import MAX_INTEGER_ID, IdsExhaustedError, new_ulid

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Value = str | int | bool | bytes | None
Item = dict[str, Value]
Key = Mapping[str, str]

BATCH_SIZE = 25
"""Of BatchWriteItem, as AWS has it."""

BATCH_GET_SIZE = 100
"""Of BatchGetItem, as AWS has it."""

TRANSACTION_SIZE = 100
"""Actions of one TransactWriteItems, as AWS has it."""

_WORKERS = 16
_ATTEMPTS = 6
_FIRST_PAUSE_SECONDS = 0.025
_TRANSIENT_REASONS = frozenset(
    {"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
)
_logger = logging.getLogger(__name__)


class ConditionFailedError(Exception):
    """The condition of a write did not hold; `item` is what is stored, when it was asked for."""

    def __init__(self, item: Item | None = None) -> None:
        super().__init__()
        self.item = item


class TransactionRefusedError(Exception):
    """Conditions of a transaction did not hold; `failed` are the positions of its writes.

    `items` are what is stored in the place of those that are updates, by position.
    """

    def __init__(self, failed: frozenset[int], items: Mapping[int, Item] | None = None) -> None:
        super().__init__()
        self.failed = failed
        self.items = items or {}


class WriteConflictError(StoreUnavailableError):
    """Whenever it was tried, another transaction had an item in hand: nothing was written."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a query; `last_key` is None at the end."""

    items: list[Item]
    last_key: Item | None


@dataclass(frozen=True, slots=True)
class Expression:
    """An update or condition in DynamoDB's language, with its names and values."""

    condition: str
    update: str | None = None
    names: Mapping[str, str] | None = None
    values: Mapping[str, Value] | None = None

    def arguments(self) -> dict[str, Any]:
        """The arguments that every write shares."""
        arguments: dict[str, Any] = {"ConditionExpression": self.condition}
        if self.update:
            arguments["UpdateExpression"] = self.update
        if self.names:
            arguments["ExpressionAttributeNames"] = dict(self.names)
        if self.values:
            arguments["ExpressionAttributeValues"] = to_attributes(self.values)
        return arguments


NEW = Expression("attribute_not_exists(pk)")
"""There is no such item yet."""

THERE = Expression("attribute_exists(pk)")
"""There is such an item."""


@dataclass(frozen=True, slots=True)
class Put:
    """A conditional put; within a transaction `table` may name another table of the service."""

    item: Mapping[str, Value]
    expression: Expression
    table: str | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """A conditional update."""

    key: Key
    expression: Expression


@dataclass(frozen=True, slots=True)
class Delete:
    """A conditional removal, within a transaction."""

    key: Key
    expression: Expression


Write = Put | Update | Delete


class DynamoTable:
    """A table behind one lazily made client and a bounded set of worker threads.

    Raises `StoreUnavailableError` when AWS still throttles or fails after its retries.
    """

    def __init__(self, name: str, make: Callable[[], DynamoDBClient] | None = None) -> None:
        self.name = name
        self._client: LazyClient[DynamoDBClient] = LazyClient(make or _make_client)
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="dynamodb")

    async def get(self, key: Key, *, consistent: bool = True) -> Item | None:
        """The item, or None."""
        answer = await self._call("get_item", Key=to_attributes(key), ConsistentRead=consistent)
        return from_attributes(answer["Item"]) if "Item" in answer else None

    async def put(self, put: Put) -> None:
        """Writes an item. Raises `ConditionFailedError` with the item that is there."""
        await self._write(
            "put_item",
            Item=to_attributes(put.item),
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
            **put.expression.arguments(),
        )

    async def update(self, update: Update) -> Item:
        """Changes an item and returns it whole. Raises `ConditionFailedError`."""
        answer = await self._write(
            "update_item",
            Key=to_attributes(update.key),
            ReturnValues="ALL_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
            **update.expression.arguments(),
        )
        return from_attributes(answer["Attributes"])

    async def change(self, update: Update) -> None:
        """Changes an item that may be large, and does not read it. Raises `ConditionFailedError`,
        without the item.
        """
        await self._write(
            "update_item", Key=to_attributes(update.key), **update.expression.arguments()
        )

    async def delete(self, key: Key, expression: Expression) -> None:
        """Removes an item. Raises `ConditionFailedError`."""
        await self._write(
            "delete_item",
            Key=to_attributes(key),
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
            **expression.arguments(),
        )

    async def query(
        self,
        condition: str,
        values: Mapping[str, Value],
        *,
        limit: int | None = None,
        index: str | None = None,
        forward: bool = True,
        start: Mapping[str, Value] | None = None,
        filter_by: str | None = None,
        projection: str | None = None,
        names: Mapping[str, str] | None = None,
    ) -> Page:
        """One page of at most `limit` items or 1 MB; consistent unless it reads an index."""
        arguments: dict[str, Any] = {
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": to_attributes(values),
            "ScanIndexForward": forward,
            "ConsistentRead": index is None,
        }
        optional = {
            "Limit": limit,
            "IndexName": index,
            "FilterExpression": filter_by,
            "ProjectionExpression": projection,
            "ExpressionAttributeNames": dict(names) if names else None,
            "ExclusiveStartKey": to_attributes(start) if start else None,
        }
        arguments.update({name: value for name, value in optional.items() if value is not None})
        answer = await self._call("query", **arguments)
        last_key = answer.get("LastEvaluatedKey")
        return Page(
            [from_attributes(item) for item in answer["Items"]],
            from_attributes(last_key) if last_key else None,
        )

    async def count(
        self, condition: str, values: Mapping[str, Value], *, index: str | None = None
    ) -> int:
        """How many items a key condition holds for; reads them all, consistent but of an index."""
        arguments: dict[str, Any] = {
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": to_attributes(values),
            "ConsistentRead": index is None,
            "Select": "COUNT",
        }
        if index is not None:
            arguments["IndexName"] = index
        total: int = 0
        while True:
            answer = await self._call("query", **arguments)
            total += answer["Count"]
            if "LastEvaluatedKey" not in answer:
                return total
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def get_batch(self, keys: Sequence[Key]) -> list[Item]:
        """Those of the items that are there, consistent, in no order; keys must be distinct."""
        batches = [keys[n : n + BATCH_GET_SIZE] for n in range(0, len(keys), BATCH_GET_SIZE)]
        found = await asyncio.gather(*(self._get_batch(batch) for batch in batches))
        return [item for items in found for item in items]

    async def transact(self, writes: Sequence[Write], *, attempts: int = _ATTEMPTS) -> None:
        """All of `writes` or none, tried `attempts` times while other transactions are in the way.

        Raises `TransactionRefusedError` and `WriteConflictError`.
        """
        await self._write(
            "transact_write_items",
            table=False,
            attempts=attempts,
            TransactItems=[self._transact_item(write) for write in writes],
            # The same for every try: one that got through unnoticed is not done twice.
            ClientRequestToken=new_ulid(),
        )

    async def write_batch(
        self, *, puts: Sequence[Mapping[str, Value]] = (), deletes: Sequence[Key] = ()
    ) -> None:
        """Puts and removes any number of items, without conditions and not atomically.

        What AWS leaves over of a batch is tried again. For what may be done twice.
        """
        requests: list[Any] = [{"PutRequest": {"Item": to_attributes(item)}} for item in puts]
        requests += [{"DeleteRequest": {"Key": to_attributes(key)}} for key in deletes]
        batches = [requests[n : n + BATCH_SIZE] for n in range(0, len(requests), BATCH_SIZE)]
        await asyncio.gather(*(self._write_batch(batch) for batch in batches))

    def close(self) -> None:
        """Ends the worker threads and the connections."""
        self._workers.shutdown(wait=True)
        self._client.close()

    async def _get_batch(self, keys: Sequence[Key]) -> list[Item]:
        pending: Any = {
            self.name: {"Keys": [to_attributes(key) for key in keys], "ConsistentRead": True}
        }
        items: list[Item] = []
        for attempt in range(_ATTEMPTS):
            answer = await self._call("batch_get_item", table=False, RequestItems=pending)
            found = answer["Responses"].get(self.name, [])
            items += [from_attributes(item) for item in found]
            pending = answer.get("UnprocessedKeys")
            if not pending:
                return items
            # 16 MB fill an answer: what is left over of a large batch is no sign of throttling.
            if not found:
                await _back_off(attempt)
        raise StoreUnavailableError(retry_after=1)

    async def _write_batch(self, pending: list[Any]) -> None:
        attempt = 0
        while attempt < _ATTEMPTS:
            answer = await self._call(
                "batch_write_item", table=False, RequestItems={self.name: pending}
            )
            left = answer.get("UnprocessedItems", {}).get(self.name, [])
            if not left:
                return
            # As long as something gets through, the table is busy, not out of reach.
            attempt = 0 if len(left) < len(pending) else attempt + 1
            pending = left
            await _back_off(attempt)
        raise StoreUnavailableError(retry_after=1)

    def _transact_item(self, write: Write) -> dict[str, Any]:
        arguments = write.expression.arguments()
        match write:
            case Put():
                table = write.table or self.name
                return {"Put": {"TableName": table, "Item": to_attributes(write.item), **arguments}}
            case Update():
                # A position that another took is told in the refusal, and not read again.
                arguments["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
                key = to_attributes(write.key)
                return {"Update": {"TableName": self.name, "Key": key, **arguments}}
            case Delete():
                key = to_attributes(write.key)
                return {"Delete": {"TableName": self.name, "Key": key, **arguments}}

    async def _write(
        self, operation: str, *, table: bool = True, attempts: int = _ATTEMPTS, **arguments: Any
    ) -> Any:
        """Calls until no transaction is in the way: those conflicts the SDK does not retry."""
        conflicts = 0
        for attempt in range(_ATTEMPTS):
            try:
                return await self._call(operation, table=table, **arguments)
            except WriteConflictError:
                conflicts += 1
                if conflicts == attempts:
                    raise
            except _InProgressError:
                # It may take effect yet: only the same call again can tell.
                pass
            await _back_off(attempt)
        raise StoreUnavailableError(retry_after=1)

    async def _call(self, operation: str, *, table: bool = True, **arguments: Any) -> Any:
        if table:
            arguments["TableName"] = self.name
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._workers, self._call_now, operation, arguments)

    def _call_now(self, operation: str, arguments: dict[str, Any]) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            return getattr(self._client.get(), operation)(**arguments)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            answer = cast("dict[str, Any]", error.response)
            if code == "ConditionalCheckFailedException":
                item = answer.get("Item")
                raise ConditionFailedError(from_attributes(item) if item else None) from None
            reasons: list[str] = []
            if code == "TransactionCanceledException":
                told = answer.get("CancellationReasons", [])
                reasons = [r.get("Code", "None") for r in told]
                failed = [i for i, r in enumerate(reasons) if r == "ConditionalCheckFailed"]
                if failed:
                    items = {
                        i: from_attributes(told[i]["Item"]) for i in failed if told[i].get("Item")
                    }
                    raise TransactionRefusedError(frozenset(failed), items) from None
                if _TRANSIENT_REASONS.issuperset(reasons):
                    raise WriteConflictError(retry_after=1) from None
            if code == "TransactionConflictException":
                raise WriteConflictError(retry_after=1) from None
            if code == "TransactionInProgressException":
                raise _InProgressError from None
            _logger.exception(
                "dynamodb refused",
                extra={"operation": operation, "aws_code": code, "reasons": reasons},
            )
            raise StoreUnavailableError(retry_after=1) from None
        except BotoCoreError:
            _logger.exception("dynamodb failed", extra={"operation": operation})
            raise StoreUnavailableError(retry_after=1) from None


class DynamoCounter:
    """`ids.Counter` on items `COUNTER#<name>`; ids start above `floor`, where imports may lie."""

    def __init__(self, table: DynamoTable, floor: int) -> None:
        self._table = table
        self._floor = floor

    async def draw(self, name: str, size: int) -> int:
        """See `ids.Counter`."""
        expression = Expression(
            update="SET last_id = if_not_exists(last_id, :floor) + :size",
            condition="attribute_not_exists(last_id) OR last_id <= :ceiling",
            values={":floor": self._floor, ":size": size, ":ceiling": MAX_INTEGER_ID - size},
        )
        key = {"pk": f"COUNTER#{name}", "sk": "COUNTER"}
        try:
            item = await self._table.update(Update(key, expression))
        except ConditionFailedError:
            raise IdsExhaustedError from None
        return cast("int", item["last_id"]) - size + 1


class DynamoRecords:
    """`idempotency.RecordStore` on items `IDEMPOTENCY#<key>`, expired by the table's TTL.

    TTL may be days late, so the time is compared here too.
    """

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    async def create(self, record: Record, now: int) -> Record | None:
        """See `idempotency.RecordStore`."""
        fresh = Expression("attribute_not_exists(pk) OR expires_at <= :now", values={":now": now})
        try:
            await self._table.put(Put(_record_item(record), fresh))
        except ConditionFailedError as failure:
            item = failure.item or await self._table.get(_record_key(record.key))
            if item is None:
                raise StoreUnavailableError(retry_after=1) from None
            return _record_from(item)
        return None

    async def retake(self, record: Record, previous_token: str) -> Record | None:
        """See `idempotency.RecordStore`."""
        expression = Expression(
            "completed = :running AND #token = :previous"
            " AND (fingerprint = :fingerprint OR #reference = :none)",
            update="SET fingerprint = :fingerprint, #token = :token,"
            " lease_expires_at = :lease, expires_at = :expiry",
            names={"#token": "token", "#reference": "reference"},
            values={
                ":running": False,
                ":previous": previous_token,
                ":fingerprint": record.fingerprint,
                ":none": None,
                ":token": record.token,
                ":lease": record.lease_expires_at,
                ":expiry": record.expires_at,
            },
        )
        try:
            item = await self._table.update(Update(_record_key(record.key), expression))
        except ConditionFailedError as failure:
            # The SDK repeats a call whose answer was lost: it may have been this very one.
            if failure.item is None or failure.item["token"] != record.token:
                return None
            item = failure.item
        return _record_from(item)

    async def extend(self, key: str, token: str, lease_expires_at: int) -> bool:
        """See `idempotency.RecordStore`."""
        expression = Expression(
            "completed = :running AND #token = :token",
            update="SET lease_expires_at = :lease",
            names={"#token": "token"},
            values={":running": False, ":token": token, ":lease": lease_expires_at},
        )
        try:
            await self._table.update(Update(_record_key(key), expression))
        except ConditionFailedError:
            return False
        return True


def claim_write(update: ClaimUpdate) -> Update:
    """The part of a service's transaction that moves the claim's record on."""
    record = update.claim.record
    return Update(
        _record_key(record.key),
        Expression(
            "completed = :running AND #token = :token",
            update="SET completed = :completed, #reference = :reference",
            names={"#token": "token", "#reference": "reference"},
            values={
                ":running": False,
                ":token": record.token,
                ":completed": update.completed,
                ":reference": json.dumps(dict(update.reference)),
            },
        ),
    )


def to_attributes(item: Mapping[str, Value]) -> dict[str, Any]:
    """DynamoDB's typed form."""
    # Nearly all are strings, and a transaction of a hundred items holds thousands.
    return {
        name: {"S": value} if isinstance(value, str) else _to_attribute(value)
        for name, value in item.items()
    }


def from_attributes(attributes: Mapping[str, Any]) -> Item:
    """The inverse of `to_attributes`."""
    return {name: _from_attribute(typed) for name, typed in attributes.items()}


def _to_attribute(value: int | bool | bytes | None) -> dict[str, Any]:
    match value:
        case bytes():
            return {"B": value}
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}


def _from_attribute(typed: Mapping[str, Any]) -> Value:
    ((kind, value),) = typed.items()
    match kind:
        case "S" | "BOOL" | "B":
            return cast("str | bool | bytes", value)
        case "N":
            return int(value)
        case "NULL":
            return None
        case _:
            raise TypeError(kind)


def _record_key(key: str) -> Key:
    return {"pk": f"IDEMPOTENCY#{key}", "sk": "IDEMPOTENCY"}


def _record_item(record: Record) -> Item:
    return {
        **_record_key(record.key),
        "key": record.key,
        "fingerprint": record.fingerprint,
        "token": record.token,
        "completed": record.completed,
        "lease_expires_at": record.lease_expires_at,
        "expires_at": record.expires_at,
        "reference": None if record.reference is None else json.dumps(dict(record.reference)),
    }


def _record_from(item: Mapping[str, Any]) -> Record:
    reference = item["reference"]
    return Record(
        key=item["key"],
        fingerprint=item["fingerprint"],
        token=item["token"],
        completed=item["completed"],
        lease_expires_at=item["lease_expires_at"],
        expires_at=item["expires_at"],
        reference=None if reference is None else json.loads(reference),
    )


class _InProgressError(Exception):
    """The same transaction is being worked on: its answer was lost and it was sent once more."""


async def _back_off(attempt: int) -> None:
    await asyncio.sleep(full_jitter(attempt, _FIRST_PAUSE_SECONDS))


def _make_client() -> DynamoDBClient:
    client = make_client(
        "dynamodb",
        connect_timeout=2,
        read_timeout=5,
        max_pool_connections=_WORKERS,
        # Ours are made above from typed values; checking them costs more CPU than sending them.
        parameter_validation=False,
        retries={"mode": "standard", "total_max_attempts": 4},
    )
    return cast("DynamoDBClient", client)
