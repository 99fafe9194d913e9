"""Halves of characters."""

import pytest

from functions.ai.adapters.wellformed import Mender, wellformed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("Grüße 🙂", "Grüße 🙂"),
        ("\ud83d\ude42", "🙂"),
        ("\ud83d", "\ufffd"),
        ("\ude42\ud83d", "\ufffd\ufffd"),
        ("a\ud83db", "a\ufffdb"),
        ("\ud83d\ud83d\ude42", "\ufffd🙂"),
    ],
)
def test_wellformed(text, expected):
    assert wellformed(text) == expected


@pytest.mark.parametrize(
    "text", ["🙂 ü \ufffd", "\ud83d\ude42x", "x\ud83d\ude42", "\ud83d\ude42" * 3]
)
def test_a_text_in_whatever_pieces(text):
    for at in range(len(text) + 1):
        mender = Mender()
        said = mender.mend(text[:at]) + mender.mend(text[at:]) + mender.rest()
        assert said == wellformed(text), at


def test_nothing_waits_but_a_first_half():
    mender = Mender()
    assert mender.mend("a\ud83d") == "a"
    assert mender.rest() == "\ufffd"
    assert mender.rest() == ""
    assert mender.mend("a\ude42") == "a\ufffd"
    assert mender.rest() == ""
