"""Models of Anthropic, through the Messages API.

The SDK's client sends the request, with its authentication, headers and pool of connections; what
comes back is read here, since the SDK builds an object of pydantic's for every event.

Loading the SDK takes 1.4 s of CPU and 70 MB: it is done on the first call, in a thread, so that
other answers go on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, cast

from functions.ai.adapters.anthropic_errors import refusal, to_app_error
from functions.ai.adapters.anthropic_messages import Answer, event_of, to_body
from functions.ai.adapters.patience import Patience
from functions.ai.adapters.pieces import Pieces, pieces_of
from functions.ai.adapters.provider_keys import KeySource
from functions.ai.adapters.sse_reader import SseReader
from functions.ai.domain.errors import (
    ProviderAuthError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from functions.ai.domain.inference import Completion, Prompt, Said
from servicekit.errors import AppError

if TYPE_CHECKING:
    import httpx2
    from anthropic import APIError, AsyncAnthropic

BASE_URL = "https://api.anthropic.com"

_PATH = "/v1/messages"
_CONNECT_SECONDS = 5
_WRITE_SECONDS = 30
_FINISH_SECONDS = 0.5
# Between two answers of one function minutes may pass, and a new connection costs three round
# trips; one that the other side has closed meanwhile is noticed.
_KEPT_SECONDS = 60
_CONNECTED = "functions.ai.connected"

_logger = logging.getLogger(__name__)


class Anthropic:
    """`ports.ModelProvider` on Anthropic; `transport` stands in for the network."""

    # A request that is broken off is billed for what was generated until then: "aborting the
    # connection ... immediately stops model processing and billing", and Anthropic is among those
    # it works for (OpenRouter, API reference, Streaming, Stream cancellation; Bedrock is not).
    drains = False

    def __init__(
        self,
        patience: Patience,
        keys: KeySource,
        *,
        base_url: str = BASE_URL,
        default_max_tokens: int,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._patience = patience
        self._keys = keys
        self._base_url = base_url
        self._default_max_tokens = default_max_tokens
        self._transport = transport
        self._client: AsyncAnthropic | None = None
        self._loading = asyncio.Lock()

    def load(self) -> None:
        """Imports the SDK and makes the client, which the first answer does otherwise."""
        if self._client is None:
            self._client = _make_client(self._base_url, self._transport)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Said | Completion, None]:
        """See `ports.ModelProvider`."""
        body = to_body(prompt, self._default_max_tokens)
        client = await self._client_with(await self._keys.get())
        answer, reader = Answer(), SseReader()
        async with aclosing(await self._open(client, body)) as response:
            pieces = pieces_of(response)
            while not answer.is_whole and (piece := await self._next(pieces, answer)):
                texts, failure = _read(reader, answer, piece)
                if texts:
                    yield texts
                if failure is not None:
                    raise failure
            if not answer.is_whole:
                raise ProviderUnavailableError("The answer broke off.")
            completion = answer.completion()
            await _finish(pieces)
        yield completion

    async def aclose(self) -> None:
        """See `ports.ModelProvider`."""
        if self._client is not None:
            await self._client.close()

    async def _client_with(self, key: str) -> AsyncAnthropic:
        """The client; with another key than before it keeps its connections."""
        async with self._loading:
            if self._client is None:
                await asyncio.to_thread(self.load)
            client = cast("AsyncAnthropic", self._client)
            if client.api_key != key:
                self._client = client = client.copy(api_key=key)
            return client

    async def _open(self, client: AsyncAnthropic, body: bytes) -> httpx2.Response:
        from anthropic import APIError  # noqa: PLC0415

        patience = self._patience.first_byte
        try:
            async with asyncio.timeout(patience):
                try:
                    return await _post(client, body)
                except APIError as error:
                    if not _was_dead(error):
                        raise
                return await _post(client, body)
        except TimeoutError:
            raise ProviderTimeoutError(f"It was silent for {patience:g} s.") from None
        except APIError as error:
            meaning = to_app_error(error)
        if isinstance(meaning, ProviderAuthError):
            self._keys.forget()
        raise meaning

    async def _next(self, pieces: Pieces, answer: Answer) -> bytes | None:
        """The body's next bytes, None at its end. Whatever comes is a sign of life."""
        from httpx2 import HTTPError  # noqa: PLC0415

        patience = self._patience.idle if answer.has_begun else self._patience.first_byte
        try:
            return await pieces.next(asyncio.get_running_loop().time() + patience)
        except TimeoutError:
            raise ProviderTimeoutError(f"It was silent for {patience:g} s.") from None
        except HTTPError as error:
            _logger.warning("anthropic broke off", extra={"error_type": type(error).__name__})
            raise ProviderUnavailableError("The answer broke off.") from None


async def _finish(pieces: Pieces) -> None:
    """Reads what is after the answer, so that its connection can be used again."""
    from httpx2 import HTTPError  # noqa: PLC0415

    deadline = asyncio.get_running_loop().time() + _FINISH_SECONDS
    with suppress(HTTPError, TimeoutError):
        while await pieces.next(deadline) is not None:
            pass


def _read(reader: SseReader, answer: Answer, piece: bytes) -> tuple[list[str], AppError | None]:
    """The texts of a piece, and the error behind them: what came before it was said."""
    texts: list[str] = []
    try:
        for _, data in reader.feed(piece):
            event = event_of(data)
            if event.get("type") == "error":
                return texts, refusal(event)
            if text := answer.read(event):
                texts.append(text)
    except ProviderError as error:
        return texts, error
    return texts, None


def _make_client(base_url: str, transport: httpx2.AsyncBaseTransport | None) -> AsyncAnthropic:
    from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient  # noqa: PLC0415
    from httpx2 import Timeout  # noqa: PLC0415

    from functions.ai.adapters.http_transport import HttpTransport  # noqa: PLC0415

    # At DEBUG it would write requests, and with them prompts.
    for name in ("anthropic", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # The event loop's timers are the rule for reading.
    timeout = Timeout(None, connect=_CONNECT_SECONDS, write=_WRITE_SECONDS, pool=_CONNECT_SECONDS)
    return AsyncAnthropic(
        # Copies of the client have the key.
        api_key="none",
        base_url=base_url,
        timeout=timeout,
        # A repeated call is billed again, and nobody may be waiting any more: callers retry.
        max_retries=0,
        # An address that is not the deployment's gets neither the key nor the prompt.
        http_client=DefaultAsyncHttpxClient(
            timeout=timeout,
            follow_redirects=False,
            event_hooks={"request": [_note_connecting]},
            transport=transport or HttpTransport(_KEPT_SECONDS),
        ),
        open_telemetry=False,
    )


async def _post(client: AsyncAnthropic, body: bytes) -> httpx2.Response:
    from anthropic import AsyncStream  # noqa: PLC0415
    from httpx2 import Response  # noqa: PLC0415

    # With this type the SDK hands the response over before it has read its body.
    response = await client.post(
        _PATH, cast_to=Response, content=body, stream=True, stream_cls=AsyncStream[Any]
    )
    return cast("Response", response)


async def _note_connecting(request: httpx2.Request) -> None:
    async def trace(event: str, _info: Any) -> None:
        if event == "connection.connect_tcp.started":
            request.extensions[_CONNECTED] = True

    request.extensions["trace"] = trace


def _was_dead(error: APIError) -> bool:
    """Whether a pooled connection had ended, while the function was frozen, say: not the model's
    failure. One that was made for the request and ended may have had its work done, and billed.
    """
    from httpx2 import ReadError, RemoteProtocolError, WriteError  # noqa: PLC0415

    pooled = _CONNECTED not in error.request.extensions
    return pooled and isinstance(error.__cause__, ReadError | RemoteProtocolError | WriteError)
