"""What a model is asked, spelt briefly."""

from functions.ai.domain.inference import Side, Text, Utterance


def said(role: Side, *texts: str) -> Utterance:
    """One side's texts."""
    return Utterance(role, tuple(Text(text) for text in texts))


COUNTED = [
    ("The committee discussed the proposal at length. ", 9),
    ("委员会详细讨论了该提案然后决定需要更多证据", 25),
    ("🙂🚀🎉🤷🏽‍♀️👩‍💻🇩🇪", 31),
    ("31415926535897932384626433832795028841971693993751", 22),
    ("\ud800", 1),
]
"""Texts, and what public tokenizers make of them, the most thrifty and the most wasteful ones."""
