"""Personal fields: encrypted under a key of the person's, readable as long as there is that key.

A record holds `"personal": {"key_id", "fields", "ciphertext"}`; `fields` are the paths, and the
ciphertext (base64) is the canonical JSON of path to value, bound to the record's event id.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.audit.v1 import PERSONAL_FIELDS
from functions.audit.domain.canonical import serialise
from functions.audit.domain.models import JsonObject, SubjectKey
from functions.audit.domain.ports import Cipher, KeyWrapping, SubjectKeys
from servicekit.ids import new_ulid

_MAX_PLAIN_KEYS = 2_000
_METADATA = "metadata."
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DataKey:
    """A person's key, in the clear: 32 bytes, never stored or logged so."""

    key_id: str
    plain: bytes


class Keyring:
    """The persons' data keys.

    The table of wrapped keys is asked on every call, so that a deleted key is gone at once; only
    the unwrapping of a wrapped key that is still there is remembered.
    """

    def __init__(self, keys: SubjectKeys, wrapping: KeyWrapping) -> None:
        self._keys = keys
        self._wrapping = wrapping
        self._plain: OrderedDict[bytes, bytes] = OrderedDict()

    async def find(self, user_ids: Iterable[int]) -> dict[int, DataKey]:
        """The keys of those persons who have one. Raises `KeyUnavailableError`."""
        wanted = sorted(set(user_ids))
        found = await self._keys.find(wanted) if wanted else {}
        opened = await asyncio.gather(*(self._open(key) for key in found.values()))
        return dict(zip(found, opened, strict=True))

    async def provide(self, user_ids: Iterable[int]) -> dict[int, DataKey]:
        """The keys of all these persons, made for who has none. Raises `KeyUnavailableError`."""
        wanted = set(user_ids)
        known = await self.find(wanted)
        missing = sorted(wanted - known.keys())
        made = await asyncio.gather(*(self._make(user_id) for user_id in missing))
        return known | dict(zip(missing, made, strict=True))

    async def _make(self, user_id: int) -> DataKey:
        plain, wrapped = await self._wrapping.generate(user_id)
        # Where two make a key at once, the one that was stored first is the person's.
        stored = await self._keys.create(SubjectKey(user_id, new_ulid(), wrapped))
        if stored.wrapped == wrapped:
            self._remember(wrapped, plain)
        return await self._open(stored)

    async def _open(self, key: SubjectKey) -> DataKey:
        plain = self._plain.get(key.wrapped)
        if plain is None:
            plain = await self._wrapping.unwrap(key)
            self._remember(key.wrapped, plain)
        return DataKey(key.key_id, plain)

    def _remember(self, wrapped: bytes, plain: bytes) -> None:
        self._plain[wrapped] = plain
        if len(self._plain) > _MAX_PLAIN_KEYS:
            self._plain.popitem(last=False)


def split(metadata: JsonObject) -> tuple[dict[str, Any], dict[str, Any]]:
    """What may be stored as it is, and the personal fields by their path."""
    open_fields: dict[str, Any] = {}
    personal: dict[str, Any] = {}
    for name, value in metadata.items():
        if name in PERSONAL_FIELDS and value is not None:
            personal[_METADATA + name] = value
        else:
            open_fields[name] = value
    return open_fields, personal


def seal(
    fields: JsonObject, event_id: str, key: DataKey, cipher: Cipher
) -> tuple[dict[str, Any], str]:
    """The record's `personal`, and what stands for it in a fingerprint (64 hexadecimal digits).

    That is an HMAC under the same key: once the key is gone, it cannot be guessed at either.
    """
    plain = serialise(fields).encode()
    sealed = {
        "key_id": key.key_id,
        "fields": sorted(fields),
        "ciphertext": base64.b64encode(
            cipher.encrypt(key.plain, plain, event_id.encode())
        ).decode(),
    }
    return sealed, hmac.digest(key.plain, plain, hashlib.sha256).hex()


def subject_of(content: JsonObject) -> int | None:
    """Whose key a record's personal fields need; None if it has no such fields."""
    return content.get("user_id") if "personal" in content else None


def unseal(content: JsonObject, keys: Mapping[int, DataKey], cipher: Cipher) -> dict[str, Any]:
    """A record's content with its personal fields back in `metadata`.

    Where their key is gone, they are named in `erased` instead.
    """
    shown = {name: value for name, value in content.items() if name not in {"personal", "schema"}}
    sealed = content.get("personal")
    if sealed is None:
        return shown
    fields = _decrypt(content, sealed, keys, cipher)
    if fields is None:
        return {**shown, "erased": sealed["fields"]}
    restored = {path.removeprefix(_METADATA): value for path, value in fields.items()}
    return {**shown, "metadata": {**content["metadata"], **restored}}


class RecordOpener:
    """Opens stored records for who may read them."""

    def __init__(self, keyring: Keyring, cipher: Cipher) -> None:
        self._keyring = keyring
        self._cipher = cipher

    async def open_records(self, records: Sequence[bytes]) -> list[dict[str, Any]]:
        """Each record's content as `unseal` shows it. Raises `KeyUnavailableError`."""
        contents = [json.loads(record) for record in records]
        subjects = {subject for content in contents if (subject := subject_of(content)) is not None}
        keys = await self._keyring.find(subjects)
        return [unseal(content, keys, self._cipher) for content in contents]


def _decrypt(
    content: JsonObject, sealed: JsonObject, keys: Mapping[int, DataKey], cipher: Cipher
) -> dict[str, Any] | None:
    key = keys.get(content["user_id"])
    if key is None or key.key_id != sealed["key_id"]:
        return None
    plain = cipher.decrypt(
        key.plain, base64.b64decode(sealed["ciphertext"]), content["event_id"].encode()
    )
    if plain is None:
        _logger.error("personal fields do not decrypt", extra={"event_id": content["event_id"]})
        return None
    fields: dict[str, Any] = json.loads(plain)
    return fields
