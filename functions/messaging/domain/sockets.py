"""The connections of the WebSocket API, seen from here: something may be sent to them."""

from __future__ import annotations

from typing import Protocol


class ConnectionGoneError(Exception):
    """There is no such connection: not any more, or not yet."""


class ConnectionBusyError(Exception):
    """The API throttles, fails, or did not answer in time: the same may pass later."""


class SendingFailedError(Exception):
    """The API will not take it, however often: our rights or our address are wrong."""


class Sockets(Protocol):
    """The open connections."""

    async def send(self, connection_id: str, text: str) -> None:
        """Sends one text message of at most 32 KB, in a bounded time.

        Raises `ConnectionGoneError`, `ConnectionBusyError` and `SendingFailedError`.
        """
