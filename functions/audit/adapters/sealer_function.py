"""The sealer, invoked in its own function, which alone may extend the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from functions.audit.adapters.functions import InvocationError, InvokedFunction
from functions.audit.domain.errors import SealingError
from functions.audit.domain.flush import FLUSH

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_RETRY_SECONDS = 5


class SealerFunction:
    """`ports.SealNow`. Raises `SealingError`."""

    def __init__(self, function: str, make: Callable[[], LambdaClient] | None = None) -> None:
        self._function = InvokedFunction(function, make)

    async def seal(self) -> Mapping[str, object]:
        """See `ports.SealNow`."""
        try:
            return await self._function.ask(FLUSH)
        except InvocationError:
            raise SealingError(retry_after=_RETRY_SECONDS) from None
