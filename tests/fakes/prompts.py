"""What a model is asked, spelt briefly."""

from functions.ai.domain.inference import Side, Text, Utterance


def said(role: Side, *texts: str) -> Utterance:
    """One side's texts."""
    return Utterance(role, tuple(Text(text) for text in texts))
