"""What a conversation asks the fake to do, and the answer it gets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

_DIRECTIVE = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)
_FLAGS = frozenset({"hang", "step"})
_COUNTS = frozenset({"chunks", "fail_after", "hang_after", "cut_after"})
_NAMES = frozenset({"fail", "stop"})
_DEFAULT_CHUNKS = 3
_CHARACTERS_PER_TOKEN = 4


class InvalidScriptError(ValueError):
    """A directive that the fake does not know, or cannot do."""


@dataclass(frozen=True, slots=True)
class Script:
    """The directives of a message; see the package."""

    chunks: int | None = None
    delay: float = 0.0
    text: str | None = None
    stop: str = "end_turn"
    fail: str | None = None
    fail_after: int | None = None
    hang: bool = False
    hang_after: int | None = None
    cut_after: int | None = None
    step: bool = False


def parse(message: str) -> tuple[Script | None, str]:
    """The message's directives, None if it has none, and the message without them.

    Brackets around anything else are text. Raises `InvalidScriptError`.
    """
    script: Script | None = None
    rest = message
    for match in _DIRECTIVE.finditer(message):
        if not _is_directive(match.group(1)):
            continue
        script = _apply(script or Script(), match.group(1))
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
    return name in _FLAGS | _COUNTS | _NAMES | {"delay", "text"}


def _apply(script: Script, content: str) -> Script:
    if content.startswith("text="):
        return replace(script, text=content.removeprefix("text="))
    for word in content.split():
        name, _, value = word.partition("=")
        try:
            script = replace(script, **{name: _value(name, value)})
        except ValueError:
            raise InvalidScriptError(f"Unknown directive: {word}") from None
    return script


def _value(name: str, value: str) -> Any:
    if name in _FLAGS and not value:
        return True
    if name in _COUNTS and (count := int(value)) >= (name == "chunks"):
        return count
    if name in _NAMES and value:
        return value
    if name == "delay" and (seconds := float(value)) >= 0:
        return seconds
    raise ValueError(name)
