"""Text without halves of surrogate pairs, which no encoder takes.

JSON can hold such halves as escapes: callers may send them, and servers that cut an answer within a
character spread the two over two chunks.
"""

from __future__ import annotations

_HIGH_HALVES = ("\ud800", "\udbff")


def wellformed(text: str) -> str:
    """`text` with the halves that belong together joined and the others replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class Mender:
    """Makes texts that follow each other wellformed, also where a pair is spread over two."""

    def __init__(self) -> None:
        self._half = ""

    def mend(self, text: str) -> str:
        """What can be said of `text`; a first half at its end waits for the next one."""
        if self._half:
            text, self._half = self._half + text, ""
        elif text.isascii():
            return text
        low, high = _HIGH_HALVES
        if low <= text[-1:] <= high:
            text, self._half = text[:-1], text[-1]
        return wellformed(text)

    def rest(self) -> str:
        """What waits for nothing any more."""
        half, self._half = self._half, ""
        return wellformed(half)
