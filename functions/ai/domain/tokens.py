"""How many tokens a prompt may take, without a tokenizer: rather too many than too few.

Providers keep their tokenizers to themselves or ship megabytes of them, and the sum of a request is
known only afterwards. The weights below were set against four that are public (OpenAI's cl100k and
o200k, DeepSeek's, and Anthropic's of Claude 2) on prose in twenty languages, code, JSON and base64:
against the worst of the four the estimate is 0.75 times (Polish, Finnish, Greek) to 2 times
(English) what they count; against o200k, the newest, never below. A provider that counts more
refuses by itself.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterable
from typing import Any

from functions.ai.domain.inference import (
    Image,
    ImageRef,
    Opaque,
    Part,
    Prompt,
    Text,
    Tool,
    ToolCall,
    Utterance,
)

IMAGE_TOKENS = 5_000
"""Of one image, whatever its size. The most is 4,784, what a current Claude makes of one, which
scales down what is larger (Anthropic's guide "Vision", high-resolution models). OpenAI's and
Google's flagships take less.
"""

BYTES_PER_TOKEN = 3
"""A token of the estimate stands for at most so many bytes of UTF-8."""

_UTTERANCE = 8
_PART = 8
_TWELFTHS = 12
_ASCII = bytes(range(128))
_PLAIN = (string.ascii_lowercase + string.whitespace).encode()
_CAPITALS = string.ascii_uppercase.encode()
_LEADS = (bytes(range(0xC0, 0xE0)), bytes(range(0xE0, 0xF0)), bytes(range(0xF0, 0x100)))
_WEIGHTS = (
    (_PLAIN, 4),
    # Rare in prose; base64 and keys are full of them, and tokenizers have no words for those.
    (_CAPITALS, 12),
    (bytes(set(_ASCII) - set(_PLAIN) - set(_CAPITALS)), 9),
    # Characters by the first byte of their UTF-8: Latin, Greek, Cyrillic, Arabic, Hebrew; then the
    # scripts of Asia, and signs; then emoji.
    (_LEADS[0], 15),
    (_LEADS[1], 24),
    (_LEADS[2], 36),
)
"""Twelfths of a token per character."""


def text_tokens(text: str) -> int:
    """Of a text."""
    left = text.encode("utf-8", "surrogatepass")
    weighed = 0
    # Counted by what a deletion takes away, the commonest first: a history has megabytes.
    for characters, weight in _WEIGHTS:
        before, left = len(left), left.translate(None, characters)
        weighed += weight * (before - len(left))
    return -(-weighed // _TWELFTHS)


def prompt_tokens(prompt: Prompt) -> int:
    """Of a whole prompt."""
    texts = sum(_UTTERANCE + text_tokens(text) for text in prompt.system)
    said = sum(map(utterance_tokens, prompt.utterances))
    return texts + said + sum(map(tool_tokens, prompt.tools))


def images_in(prompt: Prompt) -> int:
    """How many images it shows: of those the length is known, whatever the tokenizer."""
    parts = (part for said in prompt.utterances for part in said.parts)
    return sum(isinstance(part, Image | ImageRef) for part in parts)


def utterance_tokens(said: Utterance) -> int:
    """Of an utterance with what frames it."""
    return _UTTERANCE + parts_tokens(said.parts)


def parts_tokens(parts: Iterable[Part]) -> int:
    """Of parts by themselves."""
    return sum(_PART + _part_tokens(part) for part in parts)


def tool_tokens(tool: Tool) -> int:
    """Of a tool's definition."""
    return _PART + text_tokens(tool.name + (tool.description or "")) + _json(tool.parameters)


def _part_tokens(part: Part) -> int:
    match part:
        case Text():
            return text_tokens(part.text)
        case Image() | ImageRef():
            return IMAGE_TOKENS
        case ToolCall():
            return text_tokens(part.id + part.name) + _json(part.arguments)
        case Opaque():
            return _json(part.content)
        case _:
            return text_tokens(part.call_id + part.content)


def _json(value: Any) -> int:
    return text_tokens(json.dumps(value, ensure_ascii=False, default=str))
