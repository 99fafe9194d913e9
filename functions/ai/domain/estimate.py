"""What a call may cost at most, before it is made."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from functions.ai.domain.catalogue import Model
from functions.ai.domain.inference import (
    Image,
    ImageRef,
    Opaque,
    Part,
    Prompt,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)

BYTES_OF_A_TOKEN = 2
"""Tokenizers make a token of three to four bytes of prose and of two to three of code or Chinese:
what is estimated with it is nearly always more than what is billed."""

IMAGE_TOKENS = 5_000
"""The most that any of the providers counts for a picture."""

_CHARACTERS_OF_A_TOKEN = 4
"""Of prose; where an answer broke off, nothing is known that would tell it better."""

MESSAGE_TOKENS = 8
"""What frames an utterance, a part or a tool."""

OUTPUT_TOKENS = 16_384
"""The longest answer, reasoning included, of a call under a budget that asked for no bound: with
the 128,000 that models can write, a small budget would let one call through at a time."""


def prompt_tokens(prompt: Prompt) -> int:
    """An estimate of its length, rather too high than too low."""
    parts = [part for said in prompt.utterances for part in said.parts]
    texts = [*prompt.system, *(text for part in parts for text in _texts(part))]
    for tool in prompt.tools:
        texts += [tool.name, tool.description or "", json.dumps(dict(tool.parameters))]
    size = sum(len(text.encode()) for text in texts)
    frames = len(prompt.system) + len(prompt.utterances) + len(parts) + len(prompt.tools)
    images = sum(isinstance(part, Image | ImageRef) for part in parts)
    return -(-size // BYTES_OF_A_TOKEN) + frames * MESSAGE_TOKENS + images * IMAGE_TOKENS


def output_limit(model: Model, prompt: Prompt) -> int:
    """The `max_output_tokens` to send where a budget applies: what the estimate is made with."""
    asked = prompt.max_output_tokens or OUTPUT_TOKENS
    return min(asked, model.max_output_tokens or asked)


def estimate(model: Model, prompt: Prompt, at: datetime) -> Decimal | None:
    """US dollars that the call costs at most; None where no price is known."""
    return model.most(prompt_tokens(prompt), output_limit(model, prompt), at)


def estimated_usage(prompt: Prompt, said: int) -> Usage:
    """Of a call whose provider did not tell it, with an answer of that many characters."""
    return Usage(prompt_tokens(prompt), -(-said // _CHARACTERS_OF_A_TOKEN))


def _texts(part: Part) -> Iterable[str]:
    match part:
        case Text(text=text):
            return (text,)
        case ToolCall():
            return (part.id, part.name, json.dumps(dict(part.arguments)))
        case ToolResult():
            return (part.call_id, part.content)
        case Opaque():
            return (json.dumps(dict(part.content)),)
        case Image() | ImageRef():
            return ()
