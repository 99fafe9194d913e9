"""Models behind Chat Completions: OpenAI's, Gemini's by Google's compatible endpoint, and those of
any compatible server (Ollama, vLLM), through the official SDK.

The SDK's authentication, connections and errors are used; the stream's bytes are read here, for its
object of each chunk costs more CPU than all the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, cast

from functions.ai.adapters.chat_completion_stream import Answer
from functions.ai.adapters.chat_completions import Capabilities, request_body
from functions.ai.adapters.openai_errors import is_refused_key, to_app_error
from functions.ai.adapters.patience import Patience
from functions.ai.adapters.pieces import pieces_of
from functions.ai.adapters.provider_keys import KeySource
from functions.ai.adapters.sse_reader import SseReader
from functions.ai.domain.errors import ProviderTimeoutError
from functions.ai.domain.inference import Completion, Prompt, Said
from servicekit.errors import AppError

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

_CONNECT_SECONDS = 5
# Between two answers of one function minutes may pass, and a new TLS connection costs the reader
# three round trips; one that its server closed meanwhile is noticed.
_KEPT_SECONDS = 60
# After the last chunk the body's end is under way: with it the connection can be used again.
_END_SECONDS = 0.2
_CONNECTED = "santaclaude.connected"


class OpenAI:
    """`ports.ModelProvider` on the server at `base_url`, which comes from settings alone.

    `origin` is the provider's name in the catalogue, `transport` stands in for the network.
    """

    def __init__(
        self,
        origin: str,
        base_url: str,
        keys: KeySource,
        patience: Patience,
        capabilities: Capabilities,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.drains = capabilities.drains
        self._origin = origin
        self._base_url = base_url
        self._keys = keys
        self._patience = patience
        self._capabilities = capabilities
        self._transport = transport
        self._client: AsyncOpenAI | None = None
        self._loading = asyncio.Lock()

    def load(self) -> None:
        """Imports the SDK and makes the client, which the first answer does otherwise."""
        if self._client is None:
            self._client = _make_client(self._base_url, self._transport)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Said | Completion, None]:
        """See `ports.ModelProvider`."""
        request = request_body(prompt, self._origin, self._capabilities)
        body: _Body | None = None
        try:
            key = await self._keys.get()
            body = await _open(await self._loaded(), key, request, self._patience)
            answer, reader = Answer(self._origin), SseReader()
            while (piece := await body.next(answer)) is not None:
                texts, failure = _read(reader, answer, piece)
                if texts:
                    yield texts
                if failure is not None:
                    raise failure  # noqa: TRY301  (it waited for the texts before it)
            yield answer.complete()
        except AppError:
            raise
        except Exception as error:
            meaning = to_app_error(self._origin, error)
            if meaning is None:
                raise
            if is_refused_key(error):
                self._keys.forget()
            raise meaning from None
        finally:
            if body is not None:
                await body.aclose()

    async def aclose(self) -> None:
        """Ends the connections."""
        if self._client is not None:
            await self._client.close()

    async def _loaded(self) -> AsyncOpenAI:
        if self._client is None:
            async with self._loading:
                await asyncio.to_thread(self.load)
        return cast("AsyncOpenAI", self._client)


class _Body:
    """The body of a response, read with patience: piece by piece, as it comes."""

    def __init__(self, response: httpx2.Response, patience: Patience, deadline: float) -> None:
        self._response = response
        self._pieces = pieces_of(response)
        self._patience = patience
        self._deadline = deadline

    async def next(self, answer: Answer) -> bytes | None:
        """The next piece, or None after the last. Raises `ProviderTimeoutError`.

        Until content came the deadline of the whole stands, whatever else comes.
        """
        patience, deadline = self._patience.first_byte, self._deadline
        if answer.begun or answer.done:
            patience = _END_SECONDS if answer.done else self._patience.idle
            deadline = asyncio.get_running_loop().time() + patience
        try:
            return await self._pieces.next(deadline)
        except TimeoutError:
            if answer.done:
                return None
            raise _silent(patience) from None

    async def aclose(self) -> None:
        """Ends the connection, unless the body was read to its end."""
        await self._response.aclose()


def _read(reader: SseReader, answer: Answer, piece: bytes) -> tuple[list[str], AppError | None]:
    """The texts of a piece, and the error behind them: what came before it was said."""
    texts: list[str] = []
    try:
        for _, data in reader.feed(piece):
            if text := answer.read(data):
                texts.append(text)
    except AppError as error:
        return texts, error
    return texts, None


def _silent(seconds: float) -> ProviderTimeoutError:
    return ProviderTimeoutError(f"It was silent for {seconds:g} s.")


async def _open(client: AsyncOpenAI, key: str, request: bytes, patience: Patience) -> _Body:
    """The answer to a request, once its status is known. Raises `ProviderTimeoutError`.

    A pooled connection may have ended while the function was frozen, which is not the model's
    failure: a request that found one is sent once more.
    """
    from openai import APIConnectionError, APITimeoutError  # noqa: PLC0415

    deadline = asyncio.get_running_loop().time() + patience.first_byte
    try:
        async with asyncio.timeout_at(deadline):
            try:
                response = await _post(client, key, request)
            except APIConnectionError as error:
                if isinstance(error, APITimeoutError) or _connected(error.request):
                    raise
                response = await _post(client, key, request)
    except TimeoutError:
        raise _silent(patience.first_byte) from None
    return _Body(response, patience, deadline)


async def _post(client: AsyncOpenAI, key: str, body: bytes) -> httpx2.Response:
    import httpx2  # noqa: PLC0415
    from openai import AsyncStream, Omit  # noqa: PLC0415

    authorization = f"Bearer {key}" if key else Omit()
    response: Any = await client.post(
        "/chat/completions",
        cast_to=httpx2.Response,
        content=body,
        options={"headers": {"Authorization": authorization, "Accept": "text/event-stream"}},
        stream=True,
        stream_cls=AsyncStream[Any],
    )
    return cast("httpx2.Response", response)


def _make_client(base_url: str, transport: httpx2.AsyncBaseTransport | None) -> AsyncOpenAI:
    import httpx2  # noqa: PLC0415
    from openai import AsyncOpenAI, DefaultAsyncHttpx2Client  # noqa: PLC0415

    from functions.ai.adapters.http_transport import HttpTransport  # noqa: PLC0415

    return AsyncOpenAI(
        # Each request brings its own: the client keeps none.
        api_key="none",
        base_url=base_url,
        # A repeated call is billed again, and nobody may be waiting any more: callers retry.
        max_retries=0,
        http_client=DefaultAsyncHttpx2Client(
            # The event loop's timers are the rule.
            timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
            # Nobody but the server in the settings is to see a prompt or a key.
            follow_redirects=False,
            event_hooks={"request": [_watch_connecting]},
            transport=transport or HttpTransport(_KEPT_SECONDS),
        ),
    )


async def _watch_connecting(request: httpx2.Request) -> None:
    """Has the request remember that it made a connection of its own."""

    async def trace(event: str, _info: Any) -> None:
        if event == "connection.connect_tcp.started":
            request.extensions[_CONNECTED] = True

    request.extensions["trace"] = trace


def _connected(request: httpx2.Request) -> bool:
    return _CONNECTED in request.extensions
