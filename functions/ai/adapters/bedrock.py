"""Models on Amazon Bedrock, through ConverseStream.

/chat and /chat/stream both read the stream: only so the silence of a model is noticed in time, and
what it said is kept when it breaks off. A thread per answer reads botocore's blocking stream and
wakes the event loop once for all that came in the meantime.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, cast

from functions.ai.adapters.bedrock_errors import to_app_error
from functions.ai.adapters.converse import Answer, to_arguments
from functions.ai.adapters.patience import Patience
from functions.ai.domain.errors import ProviderTimeoutError, ProviderUnavailableError
from functions.ai.domain.inference import Completion, Prompt, Said
from servicekit.aws import LazyClient, make_client
from servicekit.errors import AppError

if TYPE_CHECKING:
    from mypy_boto3_bedrock_runtime import BedrockRuntimeClient

MAX_STREAMS = 100
"""Answers read at once by one process; each holds a thread and a connection."""

_CONNECT_SECONDS = 5
_CLOSE_SECONDS = 3


class Bedrock:
    """`ports.ModelProvider` on Bedrock."""

    drains = True

    def __init__(
        self, patience: Patience, make: Callable[[], BedrockRuntimeClient] | None = None
    ) -> None:
        self._patience = patience
        self._client: LazyClient[BedrockRuntimeClient] = LazyClient(
            make or (lambda: _make_client(patience))
        )
        self._readers: set[threading.Thread] = set()

    def load(self) -> None:
        """Imports the SDK and makes the client, which the first answer does otherwise."""
        self._client.get()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Said | Completion, None]:
        """See `ports.ModelProvider`."""
        if len(self._readers) >= MAX_STREAMS:
            raise ProviderUnavailableError("Too many answers at once.", retry_after=1)
        feed = _Feed(asyncio.get_running_loop())
        reader = threading.Thread(
            target=self._read, args=(prompt, feed), name="bedrock-reader", daemon=True
        )
        self._readers.add(reader)
        reader.start()
        patience = self._patience.first_byte
        try:
            while not feed.ended:
                batch = await feed.take(patience)
                patience = self._patience.idle
                texts = [item for item in batch if isinstance(item, str) and item]
                if texts:
                    yield texts
                last = batch[-1]
                if isinstance(last, AppError):
                    raise last
                if isinstance(last, Completion):
                    yield last
        finally:
            feed.abandoned = True

    async def aclose(self) -> None:
        """Waits a little for the readers, which may be in a silent read, and closes the client."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        deadline = time.monotonic() + _CLOSE_SECONDS
        for reader in list(self._readers):
            reader.join(max(0.0, deadline - time.monotonic()))
        self._client.close()

    def _read(self, prompt: Prompt, feed: _Feed) -> None:
        try:
            feed.end(self._read_all(prompt, feed))
        except Exception as error:  # noqa: BLE001  (a thread has nobody above it)
            feed.end(to_app_error(error))
        finally:
            self._readers.discard(threading.current_thread())

    def _read_all(self, prompt: Prompt, feed: _Feed) -> Completion:
        stream, answer = self._open(prompt), Answer(prompt.model)
        try:
            for event in stream:
                text = answer.read(event)
                # What is no text (reasoning, say) is a sign of life all the same.
                if text or "contentBlockDelta" in event:
                    feed.put(text)
                if feed.abandoned:
                    break
        finally:
            stream.close()
        if not answer.is_whole:
            raise ProviderUnavailableError("The answer broke off.")
        return answer.completion()

    def _open(self, prompt: Prompt) -> Any:
        from botocore.exceptions import ConnectionClosedError  # noqa: PLC0415

        client, arguments = self._client.get(), to_arguments(prompt)
        try:
            return client.converse_stream(**arguments)["stream"]
        except ConnectionClosedError:
            # A pooled connection that ended while the function was frozen: not the model's failure.
            return client.converse_stream(**arguments)["stream"]


class _Feed:
    """From one reading thread to one task on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._news = asyncio.Event()
        self._lock = threading.Lock()
        self._items: list[str | Completion | AppError] = []
        self.ended = False
        self.abandoned = False

    def put(self, item: str | Completion | AppError) -> None:
        """Called by the thread; wakes the loop unless it has been woken for earlier items."""
        with self._lock:
            self._items.append(item)
            waking = len(self._items) > 1
        if not waking and not self.abandoned:
            try:
                self._loop.call_soon_threadsafe(self._news.set)
            except RuntimeError:
                # The loop closed between the two: nobody is left to hear it.
                self.abandoned = True

    def end(self, item: Completion | AppError) -> None:
        """The thread's last item."""
        self.put(item)

    async def take(self, patience: float) -> list[str | Completion | AppError]:
        """All that came since the last time, at least one. Raises `ProviderTimeoutError`."""
        try:
            async with asyncio.timeout(patience):
                await self._news.wait()
        except TimeoutError:
            raise ProviderTimeoutError(f"It was silent for {patience:g} s.") from None
        self._news.clear()
        with self._lock:
            items, self._items = self._items, []
        self.ended = not isinstance(items[-1], str)
        return items


def _make_client(patience: Patience) -> BedrockRuntimeClient:
    client = make_client(
        "bedrock-runtime",
        connect_timeout=_CONNECT_SECONDS,
        # The event loop's timers are the rule; this one ends a thread that they gave up on.
        read_timeout=max(patience.first_byte, patience.idle) + 1,
        max_pool_connections=MAX_STREAMS,
        # A repeated call is billed again, and nobody may be waiting any more: callers retry.
        retries={"mode": "standard", "total_max_attempts": 1},
    )
    return cast("BedrockRuntimeClient", client)
