"""Which request this is: its id and its place in a W3C trace, carried by a context variable."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass

from servicekit.ids import new_ulid

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:=-]{1,128}", re.ASCII)
# https://www.w3.org/TR/trace-context-2/: versions above 00 may append fields after a dash.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED_AND_RANDOM = "03"
_FLAGS_KNOWN = 0x03


@dataclass(frozen=True, slots=True)
class Trace:
    """A span of our own in the caller's trace."""

    trace_id: str
    span_id: str
    flags: str

    @property
    def traceparent(self) -> str:
        """The header value for calls that this request makes."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What correlates a request's log lines, answers, calls and audit records.

    `principal` is who called, as `identity.Caller` has it; None on open routes.
    """

    request_id: str
    trace: Trace
    principal: str | None = None


_current: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)


def current_context() -> RequestContext | None:
    """The request that this task works for, if any."""
    return _current.get()


def enter_context(context: RequestContext) -> None:
    """Makes `context` current in this task and the tasks it starts."""
    _current.set(context)


def choose_request_id(offered: str | None, fallback: str | None) -> str:
    """The caller's X-Request-Id if it is valid, else the gateway's, else a new one.

    Valid: 1 to 128 of the characters A-Z a-z 0-9 . _ : = -
    """
    for candidate in (offered, fallback):
        if candidate is not None and _REQUEST_ID.fullmatch(candidate):
            return candidate
    return new_ulid()


def continue_trace(traceparent: str | None) -> Trace:
    """Goes on with the caller's trace; an absent or invalid header starts a new one."""
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    span_id = secrets.token_hex(8)
    if match:
        version, trace_id, parent_id, flags, rest = match.groups()
        valid = (
            version != "ff"
            and trace_id.strip("0")
            and parent_id.strip("0")
            and not (version == "00" and rest)
        )
        if valid:
            return Trace(trace_id, span_id, f"{int(flags, 16) & _FLAGS_KNOWN:02x}")
    return Trace(secrets.token_hex(16), span_id, _SAMPLED_AND_RANDOM)
