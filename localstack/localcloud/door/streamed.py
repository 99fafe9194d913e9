"""Streamed calls: an application per function, started, replaced and drained as Lambda would."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx

from localcloud.door.child import Child
from localcloud.door.http import Headers, Receive, Request, Send, end_to_end
from localcloud.door.operator import Operator
from localcloud.door.plan import Plan
from localcloud.door.problems import Problem
from localcloud.streaming import StreamedFunction

_log = logging.getLogger(__name__)


class StreamedApplication:
    """The application of one streamed function."""

    def __init__(self, function: StreamedFunction, plan: Plan, operator: Operator) -> None:
        self._function = function
        self._plan = plan
        self._operator = operator
        self._current: Child | None = None
        self._lock = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Have a process ready before the first call.

        Raises Problem when the application does not start.
        """
        await self._usable()

    async def stop(self) -> None:
        """End every process."""
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._current is not None:
            await self._current.stop()

    async def answer(self, request: Request, context: bytes, send: Send, receive: Receive) -> int:
        """Answer a request with the application's own answer, chunk by chunk as it makes them.

        `context` is the request context that API Gateway's answer carried. Returns the status.
        Raises Problem when the application gave no answer.
        """
        async with self._call() as child:
            # Lambda ends a function at its time, whether it has begun to answer or not.
            deadline = asyncio.get_running_loop().time() + self._function.timeout_seconds
            upstream = await self._send(child, request, context, deadline)
            try:
                await send(
                    {
                        "type": "http.response.start",
                        "status": upstream.status_code,
                        "headers": end_to_end(upstream.headers.raw),
                    }
                )
                await _relay(upstream, send, receive, deadline)
            finally:
                await upstream.aclose()
        return upstream.status_code

    async def _send(
        self, child: Child, request: Request, context: bytes, deadline: float
    ) -> httpx.Response:
        headers: Headers = [
            *end_to_end(request.headers, b"content-length"),
            (b"content-length", str(len(request.body)).encode()),
            (b"x-amzn-request-context", context),
            (b"x-amzn-lambda-context", child.lambda_context()),
        ]
        upstream = httpx.Request(
            request.method,
            "http://streamed/",
            headers=headers,
            content=request.body,
            extensions={
                "target": request.target.encode("latin-1"),
                "timeout": httpx.Timeout(None, connect=5).as_dict(),
            },
        )
        try:
            async with asyncio.timeout_at(deadline):
                return await child.client.send(upstream, stream=True)
        except TimeoutError:
            raise Problem(504, "application_timeout", "The application gave no answer.") from None
        except httpx.TransportError:
            raise Problem(
                502, "application_failed", "The application ended before it answered."
            ) from None

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[Child]:
        child = await self._usable()
        child.answering += 1
        child.idle.clear()
        try:
            yield child
        finally:
            child.answering -= 1
            if not child.answering:
                child.idle.set()

    async def _usable(self) -> Child:
        async with self._lock:
            current = self._current
            if current is not None and current.usable():
                return current
            session = await self._operator.session_of(self._function.role)
            started = Child(self._function, self._plan, session)
            await started.start()
            self._current = started
            if current is not None:
                _log.info("replaced", extra={"function": self._function.name})
                task = asyncio.create_task(_drain(current))
                self._background.add(task)
                task.add_done_callback(self._background.discard)
            return started


async def _drain(child: Child) -> None:
    try:
        async with asyncio.timeout(child.function.timeout_seconds):
            await child.idle.wait()
    except TimeoutError:
        pass
    finally:
        await child.stop()


async def _relay(upstream: httpx.Response, send: Send, receive: Receive, deadline: float) -> None:
    """Pass chunks on as they come.

    A client that leaves is not told to the application, as Lambda is not told either: the rest is
    read and dropped. An application that dies or takes too long leaves the answer visibly
    incomplete.
    """
    gone = asyncio.create_task(_disconnected(receive))
    try:
        async with asyncio.timeout_at(deadline):
            async for chunk in upstream.aiter_raw():
                if not gone.done():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except (httpx.TransportError, TimeoutError) as error:
        _log.warning("answer cut short", extra={"error": type(error).__name__})
        return
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
