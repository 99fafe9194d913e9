"""The KMS key that wraps the persons' data keys.

The person is part of the encryption context: a wrapped key that was copied to another person's item
does not unwrap, and CloudTrail tells whose key was used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from functions.audit.adapters import kms
from functions.audit.domain.models import SubjectKey
from servicekit.aws import LazyClient, make_client

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


class KmsWrapping:
    """`ports.KeyWrapping`. Raises `KeyUnavailableError`."""

    def __init__(self, key_id: str, make: Callable[[], KMSClient] | None = None) -> None:
        self._key_id = key_id
        self._client: LazyClient[KMSClient] = LazyClient(make or _make_client)

    async def generate(self, user_id: int) -> tuple[bytes, bytes]:
        """See `ports.KeyWrapping`."""
        answer = await self._call("generate_data_key", user_id, KeySpec="AES_256")
        return cast("bytes", answer["Plaintext"]), cast("bytes", answer["CiphertextBlob"])

    async def unwrap(self, key: SubjectKey) -> bytes:
        """See `ports.KeyWrapping`."""
        answer = await self._call("decrypt", key.user_id, CiphertextBlob=key.wrapped)
        return cast("bytes", answer["Plaintext"])

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()

    async def _call(self, operation: str, user_id: int, **arguments: Any) -> Any:
        context = {"user_id": str(user_id)}
        arguments |= {"KeyId": self._key_id, "EncryptionContext": context}
        return await kms.call(self._client, operation, **arguments)


def _make_client() -> KMSClient:
    client = make_client(
        "kms",
        connect_timeout=2,
        read_timeout=5,
        max_pool_connections=16,
        retries={"mode": "standard", "total_max_attempts": 4},
    )
    return cast("KMSClient", client)
