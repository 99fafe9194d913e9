"""The log's signing key in KMS (key spec ECC_NIST_EDWARDS25519)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from functions.audit.adapters import kms
from functions.audit.domain.errors import KeyUnavailableError
from servicekit.aws import LazyClient, make_client

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

_KEY_BYTES = 32
# RFC 8410: a SubjectPublicKeyInfo of Ed25519 is this, then the key.
_SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
_logger = logging.getLogger(__name__)


class KmsSigner:
    """`ports.Signer` on KMS. Raises `KeyUnavailableError`."""

    def __init__(self, key_id: str, make: Callable[[], KMSClient] | None = None) -> None:
        self._key_id = key_id
        self._client: LazyClient[KMSClient] = LazyClient(make or _make_client)
        self._public_key: bytes | None = None

    async def sign(self, message: bytes) -> bytes:
        """See `ports.Signer`; KMS takes 4,096 bytes at most."""
        answer = await kms.call(
            self._client,
            "sign",
            KeyId=self._key_id,
            Message=message,
            MessageType="RAW",
            SigningAlgorithm="ED25519_SHA_512",
        )
        return cast("bytes", answer["Signature"])

    async def public_key(self) -> bytes:
        """See `ports.Signer`; asked for once, for a key of KMS keeps its public half."""
        if self._public_key is None:
            answer = await kms.call(self._client, "get_public_key", KeyId=self._key_id)
            encoded = cast("bytes", answer["PublicKey"])
            if encoded[:-_KEY_BYTES] != _SPKI_PREFIX:
                _logger.error("the signing key is no Ed25519 key", extra={"key": self._key_id})
                raise KeyUnavailableError("The signing key is no Ed25519 key.")
            self._public_key = encoded[-_KEY_BYTES:]
        return self._public_key

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()


def _make_client() -> KMSClient:
    client = make_client(
        "kms",
        connect_timeout=2,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 4},
    )
    return cast("KMSClient", client)
