"""What a provider's dialect does for the server."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tests.fakes.model_script import ToolUse

FAILURES = (
    "auth",
    "billing",
    "forbidden",
    "internal",
    "invalid",
    "not_found",
    "overloaded",
    "rate_limit",
    "refused",
    "timeout",
    "too_large",
    "too_long",
    "unavailable",
)
"""What `[[fail=...]]` can name; each dialect has its own status and body for each."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the server needs to know of a request.

    `text` is the last text that the user said in the last message, `turn` how often the user
    spoke, `tokens` about how many were sent.
    """

    model: str
    stream: bool
    text: str
    turn: int
    tokens: int
    wants_usage: bool = True


@dataclass(frozen=True, slots=True)
class Used:
    """Tokens in buckets that share none."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What is to be answered; `stop` None leaves it to what the answer holds.

    `used` is None if the answer is not to say it; with `usage_last` only its last event does.
    """

    model: str
    turn: int
    chunks: tuple[str, ...]
    thinking: tuple[str, ...] = ()
    redacted: bool = False
    tools: tuple[ToolUse, ...] = ()
    stop: str | None = None
    used: Used | None = None
    usage_last: bool = False
    pings: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes that leave together: `chunk` if they carry content, `ping` if a sign of life."""

    data: bytes
    chunk: bool = False
    ping: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A failure by its name in `FAILURES`, and the provider's words."""

    name: str
    message: str


class Dialect(Hashable, Protocol):
    """One provider's way of asking and answering. It keeps no state."""

    path: str
    """Requests whose path ends so are its."""

    def refusal(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Refusal | None:
        """Why the provider would not take the request, if it would not. Header names: lower case.

        What it lets through, `asked` can read.
        """

    def asked(self, body: Mapping[str, Any]) -> Asked:
        """What is asked."""

    def frames(self, reply: Reply) -> Sequence[Frame]:
        """The events of a streamed answer."""

    def whole(self, reply: Reply) -> bytes:
        """The body of an answer that is not streamed."""

    def failure(self, name: str, message: str) -> tuple[int, bytes]:
        """Status and body of a failure in `FAILURES`."""

    def error_event(self, name: str, message: str) -> bytes:
        """The same inside a stream that had begun with 200."""
