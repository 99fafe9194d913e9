"""One answer, sent as its script wants it."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

from tests.fakes.loopback_server import LoopbackServer
from tests.fakes.model_script import Script
from tests.fakes.provider_server.calls import Outcome, RecordedCall
from tests.fakes.provider_server.connection import (
    HTML,
    begin_events,
    chunk,
    is_gone,
    send_whole,
)
from tests.fakes.provider_server.dialect import Dialect, Frame

_FAIL_AFTER = "overloaded"
_LOOK_SECONDS = 0.05
_AS_ASKED = "Failed as asked"


def send_failure(
    connection: socket.socket, dialect: Dialect, name: str, message: str, script: Script
) -> None:
    """Refuse the request."""
    headers = {} if script.retry_after is None else {"retry-after": str(script.retry_after)}
    if name.isdigit():
        # From something in front of the provider, which does not speak its dialect.
        send_whole(connection, int(name), b"<html>As asked</html>", headers, HTML)
    else:
        status, body = dialect.failure(name, message)
        send_whole(connection, status, body, headers)


class Performance:
    """Sends the answer to one call."""

    def __init__(
        self,
        server: LoopbackServer,
        connection: socket.socket,
        dialect: Dialect,
        script: Script,
        call: RecordedCall,
    ) -> None:
        self._server = server
        self._connection = connection
        self._dialect = dialect
        self._script = script
        self._call = call
        self._held: list[bytes] = []
        if script.step:
            server.forget_steps()

    def overture(self) -> Outcome | None:
        """What happens before any answer, or instead of it: then how the call ended."""
        script = self._script
        if script.wait and not self._pause(script.wait):
            return self._gone()
        if script.fail is not None and script.fail_after is None:
            send_failure(self._connection, self._dialect, script.fail, _AS_ASKED, script)
            return "refused"
        if script.redirect:
            send_whole(self._connection, 307, b"", {"Location": self._call.path})
            return "refused"
        return self._hang() if script.hang else None

    def whole(self, body: bytes, chunks: int) -> Outcome:
        """The answer at once. What should happen within it happens instead of it."""
        script = self._script
        if script.hang_after is not None:
            return self._hang()
        if script.delay and not self._pause(script.delay * chunks):
            return self._gone()
        if script.cut_after is not None or script.end_after is not None:
            return "broken"
        if script.fail_after is not None:
            name = script.fail or _FAIL_AFTER
            send_failure(self._connection, self._dialect, name, _AS_ASKED, script)
            return "refused"
        send_whole(self._connection, 200, body)
        return "complete"

    def stream(self, frames: Sequence[Frame]) -> Outcome:
        """The answer event by event."""
        begin_events(self._connection)
        for frame in frames:
            if frame.chunk and self._call.sent == 0 and (end := self._ending()):
                return end
            if not self._may_go_on(frame):
                return self._gone()
            self._send(frame.data)
            if frame.chunk:
                self._call.sent += 1
                if end := self._ending():
                    return end
        self._flush()
        self._connection.sendall(chunk(b""))
        return "complete"

    def _ending(self) -> Outcome | None:
        """Whether the script ends the stream after the chunks that were sent; then it has."""
        script, sent = self._script, self._call.sent
        if sent == script.fail_after:
            self._send(self._dialect.error_event(script.fail or _FAIL_AFTER, _AS_ASKED))
        elif sent not in (script.hang_after, script.cut_after, script.end_after):
            return None
        self._flush()
        if sent == script.hang_after:
            return self._hang()
        if sent == script.cut_after:
            return "broken"
        self._connection.sendall(chunk(b""))
        return "refused" if sent == script.fail_after else "broken"

    def _may_go_on(self, frame: Frame) -> bool:
        script = self._script
        if frame.chunk and self._call.sent == 0:
            return True
        if not (frame.chunk or frame.ping):
            return True
        if frame.chunk and script.step and not self._server.wait_for_step(self._is_gone):
            return False
        return not script.delay or self._pause(script.delay)

    def _send(self, data: bytes) -> None:
        script = self._script
        if script.crlf:
            data = data.replace(b"\n", b"\r\n")
        self._held.append(data)
        if not script.burst:
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._held)
        self._held.clear()
        size = self._script.split or max(1, len(data))
        for start in range(0, len(data), size):
            self._connection.sendall(chunk(data[start : start + size]))

    def _pause(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if not self._server.pause(min(left, _LOOK_SECONDS)) or self._is_gone():
                return False
        return True

    def _hang(self) -> Outcome:
        self._server.hang(self._is_gone)
        return self._gone()

    def _gone(self) -> Outcome:
        return "left" if self._is_gone() else "stopped"

    def _is_gone(self) -> bool:
        return is_gone(self._connection)
