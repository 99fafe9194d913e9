"""What a conversation asks the fake to do, and the answer it gets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

_DIRECTIVE = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)
_FLAGS = frozenset(
    {
        "hang", "step", "redacted", "close", "usage_last", "usage_never", "repeat", "crlf",
        "redirect", "burst",
    }
)  # fmt: skip
_COUNTS = frozenset(
    {
        "chunks", "fail_after", "hang_after", "cut_after", "end_after", "drop", "split", "pings",
        "retry_after", "input", "output", "cache_read", "cache_write", "reasoning",
    }
)  # fmt: skip
_AT_LEAST_ONE = frozenset({"chunks", "split"})
_SECONDS = frozenset({"delay", "wait"})
_NAMES = frozenset({"fail", "stop"})
_TEXTS = frozenset({"text", "thinking"})
_DEFAULT_CHUNKS = 3
_CHARACTERS_PER_TOKEN = 4


class InvalidScriptError(ValueError):
    """A directive that the fake does not know, or cannot do."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool that the model asks for; `arguments` is what it says, JSON or not."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens that an answer is to say it used, in buckets that share none; None: an estimate."""

    input: int | None = None
    output: int | None = None
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


_BUCKETS = frozenset(field.name for field in fields(Counts))


@dataclass(frozen=True, slots=True)
class Script:
    """The directives of a message; see the packages of the servers that follow them."""

    chunks: int | None = None
    delay: float = 0.0
    text: str | None = None
    stop: str | None = None
    fail: str | None = None
    fail_after: int | None = None
    hang: bool = False
    hang_after: int | None = None
    cut_after: int | None = None
    step: bool = False
    # What only the provider server can do.
    wait: float = 0.0
    end_after: int | None = None
    drop: int = 0
    redirect: bool = False
    burst: bool = False
    close: bool = False
    split: int | None = None
    crlf: bool = False
    repeat: bool = False
    pings: int = 0
    retry_after: int | None = None
    thinking: str | None = None
    redacted: bool = False
    tools: tuple[ToolUse, ...] = ()
    counts: Counts = Counts()
    usage_last: bool = False
    usage_never: bool = False


def parse(message: str, model: str = "") -> tuple[Script | None, str]:
    """The directives of the message for that model, None if it has none for any, and the message
    without them.

    Brackets around anything else are text. Raises `InvalidScriptError`.
    """
    script: Script | None = None
    rest = message
    for match in _DIRECTIVE.finditer(message):
        content = match.group(1)
        if not _is_directive(content):
            continue
        script = script or Script()
        addressee, content = _addressed(content)
        if addressee in {None, model}:
            script = _apply(script, content)
        rest = rest.replace(match.group(0), "", 1)
    return script, " ".join(rest.split())


def last_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """The last text block of the last message, if it is the user's.

    The blocks before it are earlier messages that got no answer: what they ask for is done.
    """
    if not messages or messages[-1].get("role") != "user":
        return ""
    texts = [block["text"] for block in messages[-1]["content"] if "text" in block]
    return texts[-1] if texts else ""


def answer(script: Script, prompt: str, turn: int) -> list[str]:
    """The answer's chunks; with `chunks` alone, one numbered sentence each."""
    if script.repeat:
        return [script.text or "again "] * (script.chunks or _DEFAULT_CHUNKS)
    if script.text is None and script.chunks is not None:
        sentences = [f"Chunk {i + 1} of {script.chunks}. " for i in range(script.chunks)]
        return [*sentences[:-1], sentences[-1].rstrip()]
    text = f"Answer {turn}: {prompt}" if script.text is None else script.text
    return split(text, script.chunks or _DEFAULT_CHUNKS)


def split(text: str, parts: int) -> list[str]:
    """`text` in at most `parts` pieces of about the same number of characters, none empty."""
    count = max(1, min(parts, len(text)))
    edges = [len(text) * index // count for index in range(count + 1)]
    return [text[start:end] for start, end in pairwise(edges)]


def tokens(*texts: str) -> int:
    """About what a tokenizer would count: a token per four characters, one at least."""
    return max(1, sum(-(-len(text) // _CHARACTERS_PER_TOKEN) for text in texts))


def _is_directive(content: str) -> bool:
    words = content.split()
    name = words[0].partition("=")[0] if words else ""
    return name in _FLAGS | _COUNTS | _SECONDS | _NAMES | _TEXTS | {"at", "tool"}


def _addressed(content: str) -> tuple[str | None, str]:
    """The model that alone is to follow a directive (None for all), and what it is to do."""
    first, _, rest = content.partition(" ")
    name, _, value = first.partition("=")
    return (value, rest) if name == "at" else (None, content)


def _apply(script: Script, content: str) -> Script:
    name, _, value = content.partition("=")
    if name in _TEXTS:
        return _set(script, name, value)
    if name == "tool":
        return replace(script, tools=(*script.tools, _tool(value)))
    for word in content.split():
        name, _, value = word.partition("=")
        try:
            script = _set(script, name, _value(name, value))
        except ValueError:
            raise InvalidScriptError(f"Unknown directive: {word}") from None
    return script


def _set(script: Script, name: str, value: Any) -> Script:
    if name in _BUCKETS:
        return replace(script, counts=replace(script.counts, **{name: value}))
    return replace(script, **{name: value})


def _tool(value: str) -> ToolUse:
    name, _, arguments = value.partition(" ")
    if not name:
        raise InvalidScriptError("Unknown directive: tool=")
    return ToolUse(name, arguments.strip())


def _value(name: str, value: str) -> Any:
    if name in _FLAGS and not value:
        return True
    if name in _COUNTS and (count := int(value)) >= (name in _AT_LEAST_ONE):
        return count
    if name in _NAMES and value:
        return value
    if name in _SECONDS and (seconds := float(value)) >= 0:
        return seconds
    raise ValueError(name)
