"""The key table: one item per person. It has no recovery and no stream; a deleted key is gone.

| item | pk        | sk  | attributes       |
| ---- | --------- | --- | ---------------- |
| key  | USER#<id> | KEY | key_id, wrapped  |
"""

from __future__ import annotations

from collections.abc import Sequence

from functions.audit.domain.models import SubjectKey
from servicekit.dynamodb import (
    NEW,
    THERE,
    ConditionFailedError,
    DynamoTable,
    Item,
    Key,
    Put,
)
from servicekit.errors import StoreUnavailableError

_PREFIX = "USER#"


class DynamoSubjectKeys:
    """`ports.SubjectKeys`."""

    def __init__(self, table: DynamoTable) -> None:
        self._table = table

    async def find(self, user_ids: Sequence[int]) -> dict[int, SubjectKey]:
        """See `ports.SubjectKeys`."""
        if len(user_ids) == 1:
            item = await self._table.get(_key(user_ids[0]))
            items = [item] if item else []
        else:
            items = await self._table.get_batch([_key(user_id) for user_id in user_ids])
        keys = [_from_item(item) for item in items]
        return {key.user_id: key for key in keys}

    async def create(self, key: SubjectKey) -> SubjectKey:
        """See `ports.SubjectKeys`."""
        item: Item = {**_key(key.user_id), "key_id": key.key_id, "wrapped": key.wrapped}
        try:
            await self._table.put(Put(item, NEW))
        except ConditionFailedError as error:
            # It may have been deleted between the refusal and now: then there is none to return.
            if error.item is None:
                raise StoreUnavailableError(retry_after=1) from None
            return _from_item(error.item)
        return key

    async def delete(self, user_id: int) -> bool:
        """See `ports.SubjectKeys`."""
        try:
            await self._table.delete(_key(user_id), THERE)
        except ConditionFailedError:
            return False
        return True


def _key(user_id: int) -> Key:
    return {"pk": f"{_PREFIX}{user_id}", "sk": "KEY"}


def _from_item(item: Item) -> SubjectKey:
    wrapped = item["wrapped"]
    if not isinstance(wrapped, bytes):
        raise TypeError("A stored key is not bytes")
    return SubjectKey(int(str(item["pk"]).removeprefix(_PREFIX)), str(item["key_id"]), wrapped)
