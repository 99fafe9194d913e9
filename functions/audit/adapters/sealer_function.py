"""The sealer, invoked in its own function, which alone may extend the log and sign."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from functions.audit.adapters.functions import InvocationError, InvokedFunction
from functions.audit.domain.errors import SealingError
from functions.audit.domain.sealer_calls import FLUSH, export_event

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_RETRY_SECONDS = 5


class SealerFunction:
    """`ports.SealNow` and `ports.ExportSigner`. Raises `SealingError`."""

    def __init__(self, function: str, make: Callable[[], LambdaClient] | None = None) -> None:
        self._function = InvokedFunction(function, make)

    async def seal(self) -> Mapping[str, object]:
        """See `ports.SealNow`."""
        return await self._ask(FLUSH)

    async def sign_export(self, digest: bytes) -> str:
        """See `ports.ExportSigner`."""
        return cast("str", (await self._ask(export_event(digest)))["note"])

    async def _ask(self, event: Mapping[str, object]) -> Mapping[str, object]:
        try:
            return await self._function.ask(event)
        except InvocationError:
            raise SealingError(retry_after=_RETRY_SECONDS) from None
