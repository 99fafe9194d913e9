"""What passes between a turn and a model, in no provider's dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

Side = Literal["user", "assistant"]
ImageType = Literal["image/png", "image/jpeg", "image/gif", "image/webp"]

Stop = Literal["end", "length", "tool_calls", "refused"]
"""Why an answer ended: it was complete, as long as it may be, waits for the results of its tool
calls, or the provider refuses to say more.
"""


@dataclass(frozen=True, slots=True)
class Text:
    """Words of either side."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture of the user's; `data` are the file's bytes."""

    media_type: ImageType
    data: bytes


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A picture that is kept: `key` is its object's, `size` that of its file in bytes.

    It stands in for an `Image` until a model is asked; no provider is given one.
    """

    media_type: ImageType
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asks for a tool; `arguments` are a JSON object."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the tool of a call said, or why it failed."""

    call_id: str
    content: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Opaque:
    """What only the provider named `origin` can read (a signature of its thinking, say): kept as
    JSON, and handed back to it alone.
    """

    origin: str
    content: Mapping[str, Any]


Part = Text | Image | ImageRef | ToolCall | ToolResult | Opaque


@dataclass(frozen=True, slots=True)
class Utterance:
    """What one side said until the other side spoke. An utterance of the user's that answers tool
    calls has their results first.
    """

    role: Side
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Tool:
    """What a model may call; `parameters` is the JSON Schema of its arguments, an object's."""

    name: str
    description: str | None
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked: utterances alternate and begin with the user's.

    `max_output_tokens` bounds the answer, reasoning included; None leaves it to the provider.
    """

    model: str
    system: tuple[str, ...]
    utterances: tuple[Utterance, ...]
    tools: tuple[Tool, ...] = ()
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call in buckets that share none: each token is in one of them.

    `input` is what no cache served or kept, `output` what is no reasoning; `cache_write` is kept
    for minutes, `cache_write_1h` for an hour.
    """

    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cache_write_1h: int = 0

    @property
    def prompt(self) -> int:
        """Tokens that the model was sent, whether or not a cache had them."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def total(self) -> int:
        """All tokens."""
        return self.prompt + self.output + self.reasoning


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of a model's answer; `usage` is None where the provider did not say.

    `opaque` holds, in their order, the parts that its provider wants back with the answer.
    """

    usage: Usage | None
    stop: Stop = "end"
    tool_calls: tuple[ToolCall, ...] = ()
    opaque: tuple[Opaque, ...] = ()


Said = Sequence[str]
"""Texts that a model said, those that came together."""
