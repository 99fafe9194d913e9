"""The server: routes to dialects, reads scripts, keeps what it was asked."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from socketserver import StreamRequestHandler
from typing import Any

from tests.fakes.loopback_server import LoopbackServer
from tests.fakes.model_script import InvalidScriptError, Script, answer, parse, split, tokens
from tests.fakes.provider_server.anthropic import Anthropic
from tests.fakes.provider_server.calls import Outcome, RecordedCall
from tests.fakes.provider_server.connection import HttpRequest, read_request, send_whole
from tests.fakes.provider_server.dialect import FAILURES, Asked, Dialect, Frame, Reply, Used
from tests.fakes.provider_server.gemini import Gemini
from tests.fakes.provider_server.ollama import Ollama
from tests.fakes.provider_server.openai import OpenAI
from tests.fakes.provider_server.performance import Performance, send_failure

DIALECTS: tuple[Dialect, ...] = (Anthropic(), Gemini(), Ollama(), OpenAI())

_THOUGHTS = 2


class ProviderServer(LoopbackServer):
    """Runs in a thread between `with` and its end; `url` is the base URL of every dialect.

    `calls` are kept as they come, unless not to `record`.
    """

    def __init__(self, *, port: int = 0, record: bool = True) -> None:
        self.calls: list[RecordedCall] = []
        self.connections = 0
        self._record = record
        self._drops: Counter[str] = Counter()
        self._lock = threading.Lock()
        owner = self

        class Handler(_Handler):
            server_of = owner

        super().__init__(Handler, port)

    def connected(self) -> int:
        """The number of a new connection."""
        with self._lock:
            self.connections += 1
            return self.connections

    def called(self, call: RecordedCall) -> None:
        """Keep the call."""
        if self._record:
            self.calls.append(call)

    def drops(self, text: str, times: int) -> bool:
        """Whether this call is one of the first so many `times` that the text is asked."""
        with self._lock:
            self._drops[text] += 1
            return self._drops[text] <= times


class _Handler(StreamRequestHandler):
    disable_nagle_algorithm = True
    connection: socket.socket
    server_of: ProviderServer

    def handle(self) -> None:
        number = self.server_of.connected()
        while (request := read_request(self.rfile)) is not None:
            if not self._answer(request, number):
                return

    def _answer(self, request: HttpRequest, number: int) -> bool:
        """Whether the connection is good for another request."""
        dialect = next((d for d in DIALECTS if request.path.endswith(d.path)), None)
        if dialect is None or request.method != "POST":
            send_whole(self.connection, 404, b'{"error": "No such route"}')
            return True
        call = RecordedCall(request.path, request.headers, _object(request.body), number)
        self.server_of.called(call)
        outcome: Outcome = "left"
        script = Script()
        try:
            if refusal := dialect.refusal(call.body, call.headers):
                outcome = "refused"
                send_failure(self.connection, dialect, refusal.name, refusal.message, script)
            else:
                script, outcome = self._follow(dialect, call)
        finally:
            call.end(outcome)
        return outcome in {"complete", "refused"} and not script.close

    def _follow(self, dialect: Dialect, call: RecordedCall) -> tuple[Script, Outcome]:
        asked = dialect.asked(call.body)
        try:
            script, prompt = _script(asked)
        except InvalidScriptError as error:
            send_failure(self.connection, dialect, "invalid", str(error), Script())
            return Script(), "refused"
        if script.drop and self.server_of.drops(asked.text, script.drop):
            return script, "broken"
        performance = Performance(self.server_of, self.connection, dialect, script, call)
        if outcome := performance.overture():
            return script, outcome
        reply = _reply(script, prompt, asked)
        if asked.stream:
            return script, performance.stream(_frames(dialect, reply))
        return script, performance.whole(dialect.whole(reply), len(reply.chunks))


@lru_cache(maxsize=64)
def _frames(dialect: Dialect, reply: Reply) -> Sequence[Frame]:
    # Under load the same is asked again and again.
    return dialect.frames(reply)


def _object(body: bytes) -> Mapping[str, Any]:
    """The JSON object of a body; what is none is empty, which every dialect refuses."""
    try:
        parsed = json.loads(body)
        if b"\\u" in body:
            # Half a surrogate pair is no text: providers refuse it.
            json.dumps(parsed, ensure_ascii=False).encode()
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _script(asked: Asked) -> tuple[Script, str]:
    script, prompt = parse(asked.text, asked.model)
    if script is None:
        return Script(), prompt
    # A bare status is no event of a dialect: it cannot come within a stream.
    is_status = script.fail is not None and script.fail.isdigit() and script.fail_after is None
    if script.fail not in (None, *FAILURES) and not is_status:
        raise InvalidScriptError(f"Unknown directive: fail={script.fail}")
    return script, prompt


def _reply(script: Script, prompt: str, asked: Asked) -> Reply:
    calls_only = bool(script.tools) and script.text is None and script.chunks is None
    chunks = () if calls_only else tuple(answer(script, prompt, asked.turn))
    thinking = tuple(split(script.thinking, _THOUGHTS)) if script.thinking else ()
    reply = Reply(
        model=asked.model,
        turn=asked.turn,
        chunks=tuple(text for text in chunks if text),
        thinking=thinking,
        redacted=script.redacted,
        tools=script.tools,
        stop=script.stop,
        usage_last=script.usage_last,
        pings=script.pings,
        used=None,
    )
    if script.usage_never or not asked.wants_usage:
        return reply
    return _with_usage(reply, script, asked)


def _with_usage(reply: Reply, script: Script, asked: Asked) -> Reply:
    counts = script.counts
    said = (*reply.chunks, *(tool.arguments for tool in reply.tools))
    used = Used(
        input=asked.tokens if counts.input is None else counts.input,
        output=tokens("".join(said)) if counts.output is None else counts.output,
        cache_read=counts.cache_read,
        cache_write=counts.cache_write,
        reasoning=counts.reasoning,
    )
    return replace(reply, used=used)
