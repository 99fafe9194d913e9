"""Which providers have a key, without reading it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, cast

from functions.ai.adapters.provider_keys import secret_name
from servicekit.aws import LazyClient, make_client

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

KEPT_SECONDS = 30.0
"""How long a list of providers may show a key that has come or gone meanwhile."""

_logger = logging.getLogger(__name__)


class KeyPresence:
    """`ports.ProviderStates`: providers without need of a key, and those whose secret is there."""

    def __init__(
        self,
        environment: str,
        keyed: Collection[str],
        keyless: Collection[str],
        make: Callable[[], SecretsManagerClient] | None = None,
    ) -> None:
        self._names = {provider: secret_name(environment, provider) for provider in keyed}
        self._keyless = frozenset(keyless)
        self._client: LazyClient[SecretsManagerClient] = LazyClient(make or _make_client)
        self._known: frozenset[str] = frozenset()
        self._until = 0.0

    async def active(self) -> frozenset[str]:
        """See `ports.ProviderStates`."""
        if time.monotonic() >= self._until:
            found = await asyncio.gather(
                *(asyncio.to_thread(self._is_there, name) for name in self._names.values())
            )
            with_key = {p for p, there in zip(self._names, found, strict=True) if there}
            self._known = self._keyless | with_key
            self._until = time.monotonic() + KEPT_SECONDS
        return self._known

    def _is_there(self, name: str) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            described = self._client.get().describe_secret(SecretId=name)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code != "ResourceNotFoundException":
                _logger.warning("key not described", extra={"secret": name, "aws_code": code})
            return False
        except BotoCoreError:
            _logger.warning("key not described", extra={"secret": name}, exc_info=True)
            return False
        return "DeletedDate" not in described


def _make_client() -> SecretsManagerClient:
    client = make_client("secretsmanager", connect_timeout=2, read_timeout=3)
    return cast("SecretsManagerClient", client)
