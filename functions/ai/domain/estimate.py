"""What a call may cost at most, before it is made."""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from functions.ai.domain.catalogue import Model
from functions.ai.domain.inference import Prompt, Usage
from functions.ai.domain.tokens import IMAGE_TOKENS, images_in, prompt_tokens

SAFETY = Fraction(3, 2)
"""How much more than `tokens` counts a text may be. Its worst case are three quarters of what a
tokenizer made of a sample, which four thirds would cover; an eighth is for languages and tokenizers
that were not among the samples."""

_CHARACTERS_OF_A_TOKEN = 4
"""Of prose; where an answer broke off, nothing is known that would tell it better."""

OUTPUT_TOKENS = 16_384
"""The longest answer, reasoning included, of a call under a budget that asked for no bound: with
the 128,000 that models can write, a small budget would let one call through at a time."""


def most_tokens(prompt: Prompt) -> int:
    """Tokens that the prompt takes at most."""
    images = IMAGE_TOKENS * images_in(prompt)
    return math.ceil((prompt_tokens(prompt) - images) * SAFETY) + images


def output_limit(model: Model, prompt: Prompt) -> int:
    """The `max_output_tokens` to send where a budget applies: what the estimate is made with."""
    asked = prompt.max_output_tokens or OUTPUT_TOKENS
    return min(asked, model.max_output_tokens or asked)


def estimate(model: Model, prompt: Prompt, at: datetime) -> Decimal | None:
    """US dollars that the call costs at most; None where no price is known."""
    return model.most(most_tokens(prompt), output_limit(model, prompt), at)


def estimated_usage(prompt: Prompt, said: int) -> Usage:
    """Of a call whose provider did not tell it, with an answer of that many characters: as near as
    can be told, and never more than what was held for it.
    """
    return Usage(prompt_tokens(prompt), -(-said // _CHARACTERS_OF_A_TOKEN))
