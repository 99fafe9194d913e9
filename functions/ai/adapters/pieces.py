"""The body of an answer, piece by piece as it comes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import httpx2

PIECES = "santaclaude.pieces"
"""Extension of a response whose transport gives the pieces themselves, as `Pieces`."""


class Pieces(Protocol):
    """A body that is read once."""

    async def next(self, deadline: float) -> bytes | None:
        """What has come since the last time, or None at the end.

        Raises `TimeoutError` where nothing comes until `deadline` (seconds of the loop's clock),
        and httpx2's errors.
        """


def pieces_of(response: httpx2.Response) -> Pieces:
    """The response's body, decoded."""
    own = response.extensions.get(PIECES)
    # The client's way to it runs each piece through four generators.
    if own is not None and "content-encoding" not in response.headers:
        return cast("Pieces", own)
    return _Decoded(response)


class _Decoded:
    """`Pieces` by the client's own means."""

    def __init__(self, response: httpx2.Response) -> None:
        self._pieces = response.aiter_bytes()

    async def next(self, deadline: float) -> bytes | None:
        """See `Pieces`."""
        async with asyncio.timeout_at(deadline):
            return await anext(self._pieces, None)
