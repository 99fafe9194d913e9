"""The keys of model providers, each in a secret of Secrets Manager.

A key is in no log and in no object's repr: errors and log lines name its secret alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

from functions.ai.domain.errors import ProviderKeyMissingError, ProviderUnavailableError
from servicekit.aws import LazyClient, make_client

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

KEPT_SECONDS = 300.0
ABSENT_SECONDS = 10.0
"""For so long a missing key is not looked for again: lists of providers ask for each."""

_ABSENT = {"ResourceNotFoundException", "InvalidRequestException"}
_FORBIDDEN = {"AccessDeniedException", "AccessDenied"}

_logger = logging.getLogger(__name__)


class KeySource(Protocol):
    """Where an adapter has its provider's key from."""

    async def get(self) -> str:
        """The key; empty where the server needs none. Raises `ProviderKeyMissingError`."""

    def forget(self) -> None:
        """Has the next `get` read again: the provider refused the key."""


class NoKey:
    """`KeySource` of a server that needs no key."""

    async def get(self) -> str:
        """See `KeySource`."""
        return ""

    def forget(self) -> None:
        """See `KeySource`."""


class ProviderKeys:
    """The secrets of one environment. They share a client of Secrets Manager."""

    def __init__(
        self, environment: str, make: Callable[[], SecretsManagerClient] | None = None
    ) -> None:
        self._environment = environment
        self._client: LazyClient[SecretsManagerClient] = LazyClient(make or _make_client)

    def of(self, provider: str, timer: Callable[[], float] = time.monotonic) -> SecretKey:
        """The key of the provider of this name."""
        name = f"santaclaude/{self._environment}/providers/{provider}"
        remedy = f"Put the key into Secrets Manager as {name}"
        if self._environment == "local":
            remedy += f" ({provider.upper()}_API_KEY in .env, then `make up`)"
        return SecretKey(name, remedy + ".", self._client, timer)

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()


class SecretKey:
    """`KeySource` on one secret: read on first use, kept for minutes.

    Callers who come while it is read wait for that one read, and go away without ending it.
    """

    def __init__(
        self,
        name: str,
        remedy: str,
        client: LazyClient[SecretsManagerClient],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._remedy = remedy
        self._client = client
        self._timer = timer
        self._key: str | None = None
        self._known_until: float | None = None
        self._reading: asyncio.Task[str | None] | None = None

    async def get(self) -> str:
        """See `KeySource`. Raises `ProviderUnavailableError` when Secrets Manager does not answer
        as well.
        """
        if self._known_until is None or self._timer() >= self._known_until:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read())
                self._reading.add_done_callback(_hear)
            key = await asyncio.shield(self._reading)
        else:
            key = self._key
        if key is None:
            raise ProviderKeyMissingError(self._remedy)
        return key

    def forget(self) -> None:
        """See `KeySource`."""
        self._known_until = None
        # A read that is under way may bring what was just refused.
        self._reading = None

    async def _read(self) -> str | None:
        mine = asyncio.current_task()
        key = await asyncio.to_thread(self._fetch)
        if self._reading is mine:
            self._key = key
            kept = ABSENT_SECONDS if key is None else KEPT_SECONDS
            self._known_until = self._timer() + kept
        return key

    def _fetch(self) -> str | None:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            answer = self._client.get().get_secret_value(SecretId=self._name)
        except ClientError as error:
            code = error.response["Error"].get("Code", "")
            if code in _ABSENT:
                return None
            _logger.warning("secret not read", extra={"secret": self._name, "aws_code": code})
            if code in _FORBIDDEN:
                raise ProviderKeyMissingError(
                    f"The function's role may not read the secret {self._name}."
                ) from None
            raise ProviderUnavailableError("Its key could not be read.") from None
        except BotoCoreError as error:
            _logger.warning(
                "secret not read",
                extra={"secret": self._name, "error_type": type(error).__name__},
            )
            raise ProviderUnavailableError("Its key could not be read.") from None
        key = answer.get("SecretString", "").strip()
        # Anything else cannot stand in a header: somebody stored another thing than a key.
        return key if key.isascii() and key.isprintable() and key else None


def _hear(task: asyncio.Task[str | None]) -> None:
    """Looks at the error of a read that everybody stopped waiting for: asyncio would warn of it."""
    if not task.cancelled():
        task.exception()


def _make_client() -> SecretsManagerClient:
    client = make_client(
        "secretsmanager",
        connect_timeout=2,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return cast("SecretsManagerClient", client)
