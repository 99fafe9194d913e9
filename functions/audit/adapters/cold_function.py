"""The archive for interactive queries, through the function that holds DuckDB."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from functions.audit.adapters.functions import InvocationError, InvokedFunction
from functions.audit.domain import cold
from functions.audit.domain.errors import ArchiveUnavailableError
from functions.audit.domain.models import Filter, Found, FoundPage, Position, Span

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


class ColdFunction:
    """`ports.ColdStore` in another function."""

    def __init__(self, function: str, make: Callable[[], LambdaClient] | None = None) -> None:
        self._function = InvokedFunction(function, make)

    async def find(
        self, wanted: Filter, span: Span, before: Position | None, limit: int
    ) -> FoundPage:
        """See `ports.ColdStore`."""
        return await self._ask(cold.find_request(wanted, span, before, limit))

    async def get(self, event_id: str, span: Span) -> Found | None:
        """See `ports.ColdStore`."""
        page = await self._ask(cold.get_request(event_id, span))
        return page.items[0] if page.items else None

    async def check(self) -> None:
        """See `ports.ColdStore`."""
        await self._ask(cold.check_request())

    async def _ask(self, request: Mapping[str, Any]) -> FoundPage:
        try:
            answer = await self._function.ask(request)
        except InvocationError:
            raise ArchiveUnavailableError(retry_after=1) from None
        return cold.read_answer(answer)
