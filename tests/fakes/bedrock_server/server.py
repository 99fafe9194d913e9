"""The server: Bedrock runtime's Converse and ConverseStream over HTTP/1.1, on loopback."""

from __future__ import annotations

import http.client
import json
import re
import select
import socket
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.fakes.bedrock_server import eventstream
from tests.fakes.loopback_server import HOST, LoopbackServer
from tests.fakes.model_script import (
    InvalidScriptError,
    Script,
    answer,
    last_user_text,
    parse,
    split,
    tokens,
)

_ROUTE = re.compile(r"/model/(?P<model>.+)/(?P<operation>converse|converse-stream)")
_STATUS = {
    "AccessDeniedException": 403,
    "InternalServerException": 500,
    "ModelErrorException": 424,
    "ModelNotReadyException": 429,
    "ModelStreamErrorException": 424,
    "ModelTimeoutException": 408,
    "ResourceNotFoundException": 404,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
    "ValidationException": 400,
}
_STOP = "end_turn"
_TEXT_BLOCK = 2
"""The text's index: reasoning has those before it, tools those behind."""
_UPSTREAM_TIMEOUT_SECONDS = 300
_READ_BYTES = 65_536
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A Converse call as it came. Header names are lower case."""

    operation: str
    model: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]


class BedrockServer(LoopbackServer):
    """Runs in a thread between `with` and its end; `url` is its endpoint.

    Calls without a directive go to `upstream` (a URL, without a path) if one is given.
    """

    def __init__(self, *, port: int = 0, upstream: str | None = None) -> None:
        self.calls: list[RecordedCall] = []
        self.upstream = urlsplit(upstream) if upstream else None
        owner = self

        class Handler(_Handler):
            server_of = owner

        super().__init__(Handler, port)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_of: BedrockServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._route(body)

    do_GET = do_POST  # noqa: N815 - the name that the base class calls

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def _route(self, body: bytes) -> None:
        match = _ROUTE.fullmatch(urlsplit(self.path).path)
        call = self._converse_call(match, body) if match and self.command == "POST" else None
        if call is None:
            if self.server_of.upstream is None:
                self._fail("ResourceNotFoundException", "No such operation")
            else:
                self._forward(body)
            return
        self.server_of.calls.append(call)
        messages = call.body["messages"]
        try:
            script, prompt = parse(last_user_text(messages), call.model)
        except InvalidScriptError as error:
            self._fail("ValidationException", str(error))
            return
        if script is None and self.server_of.upstream is not None:
            self._forward(body)
        elif reason := _refusal(messages) or _tool_refusal(call.body):
            self._fail("ValidationException", reason)
        else:
            turn = sum(message["role"] == "user" for message in messages)
            chunks = answer(script or Script(), prompt, turn)
            self._perform(call, script or Script(), chunks)

    def _converse_call(self, match: re.Match[str], body: bytes) -> RecordedCall | None:
        try:
            parsed = json.loads(body)
        except ValueError:
            return None
        if not isinstance(parsed, dict) or not isinstance(parsed.get("messages"), list):
            return None
        return RecordedCall(
            operation=match["operation"],
            model=unquote(match["model"]),
            body=parsed,
            headers={name.lower(): value for name, value in self.headers.items()},
        )

    def _perform(self, call: RecordedCall, script: Script, chunks: Sequence[str]) -> None:
        if script.fail is not None and script.fail_after is None:
            self._fail(script.fail, f"{script.fail} as asked")
        elif script.hang:
            self._hang()
        elif call.operation == "converse":
            self._converse(call, script, chunks)
        else:
            self._converse_stream(call, script, chunks)

    def _converse(self, call: RecordedCall, script: Script, chunks: Sequence[str]) -> None:
        if script.hang_after is not None:
            self._hang()
            return
        if not self.server_of.pause(script.delay * len(chunks)) or script.cut_after is not None:
            self.close_connection = True
            return
        if script.fail_after is not None:
            self._fail(script.fail or "ModelErrorException", "Failed as asked")
            return
        text = "".join(chunks)
        self._json(
            200,
            {
                "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
                "stopReason": script.stop or _STOP,
                "usage": _usage(script, call.body, text),
                "metrics": {"latencyMs": 1},
            },
        )

    def _converse_stream(self, call: RecordedCall, script: Script, chunks: Sequence[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", eventstream.MEDIA_TYPE)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if script.step:
            self.server_of.forget_steps()
        self._chunk(eventstream.event("messageStart", {"role": "assistant"}))
        for frame in _thinking_frames(script):
            self._chunk(frame)
        for number, text in enumerate(chunks):
            if self._ended(script, number):
                return
            if number and not self._may_go_on(script):
                self.close_connection = True
                return
            delta = {"contentBlockIndex": _TEXT_BLOCK, "delta": {"text": text}}
            self._chunk(eventstream.event("contentBlockDelta", delta))
        if self._ended(script, len(chunks)):
            return
        for frame in _closing_frames(script, call.body, "".join(chunks)):
            self._chunk(frame)
        self._chunk(b"")

    def _ended(self, script: Script, sent: int) -> bool:
        """Whether the script ends the stream after the `sent` chunks; if so it is done."""
        if sent == script.fail_after:
            name = script.fail or "ModelStreamErrorException"
            name = name[0].lower() + name[1:]
            self._chunk(eventstream.exception(name, "Failed as asked"))
            self._chunk(b"")
        elif sent == script.hang_after:
            self._hang()
        elif sent == script.cut_after:
            self.close_connection = True
        else:
            return False
        return True

    def _may_go_on(self, script: Script) -> bool:
        if script.step and not self.server_of.wait_for_step(self._client_is_gone):
            return False
        return self.server_of.pause(script.delay)

    def _hang(self) -> None:
        self.server_of.hang(self._client_is_gone)
        self.close_connection = True

    def _client_is_gone(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        try:
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def _fail(self, name: str, message: str) -> None:
        self._json(_STATUS.get(name, 500), {"message": message}, {"x-amzn-ErrorType": name})

    def _json(
        self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        content = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _chunk(self, content: bytes) -> None:
        """Send one chunk at once; the empty one ends the body."""
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")

    def _forward(self, body: bytes) -> None:
        upstream = self.server_of.upstream
        assert upstream is not None
        connection = http.client.HTTPConnection(
            upstream.hostname or HOST, upstream.port, timeout=_UPSTREAM_TIMEOUT_SECONDS
        )
        try:
            # Host is kept: the signature covers it.
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
        except OSError:
            connection.close()
            self._fail("ServiceUnavailableException", "The upstream does not answer")
            return
        try:
            self._relay(response)
        finally:
            connection.close()

    def _relay(self, response: http.client.HTTPResponse) -> None:
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        chunked = response.length is None
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while content := response.read1(_READ_BYTES):
            if chunked:
                self._chunk(content)
            else:
                self.wfile.write(content)
        if chunked:
            self._chunk(b"")


def _thinking_frames(script: Script) -> Iterator[bytes]:
    deltas: list[Mapping[str, Any]] = []
    if script.thinking is not None:
        deltas += [{"text": piece} for piece in split(script.thinking, 2)]
        deltas.append({"signature": b64encode(script.thinking.encode()).decode()})
    if deltas:
        yield from _block(_TEXT_BLOCK - 2, [{"reasoningContent": delta} for delta in deltas])
    if script.redacted:
        hidden = {"redactedContent": b64encode(b"hidden").decode()}
        yield from _block(_TEXT_BLOCK - 1, [{"reasoningContent": hidden}])


def _tool_frames(script: Script) -> Iterator[bytes]:
    for number, tool in enumerate(script.tools, start=1):
        start = {"toolUse": {"toolUseId": f"tooluse_{number}", "name": tool.name}}
        index = _TEXT_BLOCK + number
        opening = {"contentBlockIndex": index, "start": start}
        yield eventstream.event("contentBlockStart", opening)
        pieces = split(tool.arguments, 3) if tool.arguments else []
        yield from _block(index, [{"toolUse": {"input": piece}} for piece in pieces])


def _block(index: int, deltas: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    for delta in deltas:
        said = {"contentBlockIndex": index, "delta": delta}
        yield eventstream.event("contentBlockDelta", said)
    yield eventstream.event("contentBlockStop", {"contentBlockIndex": index})


def _closing_frames(script: Script, body: Mapping[str, Any], text: str) -> Iterator[bytes]:
    yield eventstream.event("contentBlockStop", {"contentBlockIndex": _TEXT_BLOCK})
    yield from _tool_frames(script)
    stop = script.stop or ("tool_use" if script.tools else _STOP)
    yield eventstream.event("messageStop", {"stopReason": stop})
    metadata = {"usage": _usage(script, body, text), "metrics": {"latencyMs": 1}}
    yield eventstream.event("metadata", metadata)


def _refusal(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """Why Bedrock would refuse the conversation, if it would."""
    if not messages or messages[0].get("role") != "user":
        return "A conversation must start with a user message."
    for number, message in enumerate(messages):
        if number and message.get("role") == messages[number - 1].get("role"):
            return f"messages.{number}: roles must alternate between user and assistant."
        for index, block in enumerate(message.get("content", ())):
            if not block.get("text", "-").strip():
                where = f"messages.{number}.content.{index}"
                return f"The text field in the ContentBlock object at {where} is blank."
    return None


def _tool_refusal(body: Mapping[str, Any]) -> str | None:
    """Why Bedrock would refuse the conversation's tools, if it would."""
    asked: list[str] = []
    for number, message in enumerate(body["messages"]):
        blocks = message.get("content", ())
        results = [b["toolResult"]["toolUseId"] for b in blocks if "toolResult" in b]
        if sorted(results) != sorted(asked):
            return f"messages.{number}: toolResult blocks must match the toolUse blocks before."
        asked = [b["toolUse"]["toolUseId"] for b in blocks if "toolUse" in b]
        if (asked or results) and "toolConfig" not in body:
            return (
                "The toolConfig field must be defined when using toolUse and toolResult content"
                " blocks."
            )
    return None


def _usage(script: Script, body: Mapping[str, Any], text: str) -> dict[str, int]:
    """As Bedrock counts: `inputTokens` are those that no cache served or kept."""
    blocks = [*body.get("system", ()), *(b for m in body["messages"] for b in m["content"])]
    counts = script.counts
    asked = tokens(*(b.get("text", "") for b in blocks)) if counts.input is None else counts.input
    answered = tokens(text) if counts.output is None else counts.output
    usage = {
        "inputTokens": asked,
        "outputTokens": answered,
        "totalTokens": asked + answered + counts.cache_read + counts.cache_write,
    }
    if counts.cache_read or counts.cache_write:
        usage["cacheReadInputTokens"] = counts.cache_read
        usage["cacheWriteInputTokens"] = counts.cache_write
    return usage
