"""Strict JSON in: I-JSON (RFC 7493), so that what is stored means the same to every reader."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from servicekit.errors import InvalidRequestError, MalformedRequestError

MAX_INTEGER = 2**53 - 1
"""In magnitude: beyond, a reader that holds numbers as doubles reads another one."""

_MAX_FLAWS = 50
_MAX_PATH_LENGTH = 200
_LONGEST_INTEGER = len(str(-MAX_INTEGER))
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_TOO_DEEP = "Nested too deeply"
# ECMAScript, and so RFC 8785, writes smaller integral numbers without an exponent.
_FIRST_EXPONENT = 1e21


@dataclass(frozen=True, slots=True)
class Flaw:
    """A place in a document that readers would not agree on; `path` is its steps from the root."""

    path: tuple[str | int, ...]
    message: str

    def below(self, depth: int) -> dict[str, str]:
        """The flaw as a field error, its path without the first `depth` steps."""
        return {"field": _dotted(self.path[depth:]), "message": self.message}


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed body. Its content may be used where `flaws` names nothing."""

    content: Any
    flaws: tuple[Flaw, ...]


class _Repeated(dict[str, Any]):
    """An object with a name that was there more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.names = [name for name, _ in pairs if name in seen or seen.add(name)]  # type: ignore[func-returns-value]


def parse(body: bytes, max_depth: int) -> Document:
    """Reads JSON. Raises `MalformedRequestError` where it is none.

    NaN and infinities, numbers beyond a double, integers beyond `MAX_INTEGER`, lone surrogates,
    repeated names and more than `max_depth` levels are flaws, each with its path.
    """
    try:
        content = _DECODER.decode(body.decode())
    except UnicodeDecodeError as error:
        raise MalformedRequestError(f"Byte {error.start} is not UTF-8.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, character {error.colno} of that line"
        raise MalformedRequestError(f"Reading stopped at {place}.") from None
    except RecursionError:
        return Document(None, (Flaw((), _TOO_DEEP),))
    surrogates = _SURROGATE_ESCAPE.search(body) is not None
    if not surrogates and _is_sound(content, max_depth):
        return Document(content, ())
    return Document(content, tuple(islice(_flaws(content, (), max_depth), _MAX_FLAWS)))


def require_sound(document: Document) -> Any:
    """The content. Raises `InvalidRequestError` with every flaw."""
    if document.flaws:
        raise InvalidRequestError(errors=[flaw.below(0) for flaw in document.flaws])
    return document.content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Repeated(pairs)


def _integer(text: str) -> int:
    # Python refuses to read thousands of digits; how many they are makes no difference here.
    return int(text) if len(text) <= _LONGEST_INTEGER else MAX_INTEGER + 1


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer)


def _is_sound(content: Any, max_depth: int) -> bool:
    """Whether there is no flaw but, perhaps, a surrogate. Level by level: most have none."""
    level = [content]
    for _ in range(max_depth):
        below: list[Any] = []
        for value in level:
            kind = type(value)
            if kind is dict:
                below += value.values()
            elif kind is list:
                below += value
            elif kind is not str and (kind is _Repeated or not _is_sound_number(value)):
                return False
        if not below:
            return True
        level = below
    return not any(isinstance(value, dict | list) or not _is_sound_number(value) for value in level)


def _is_sound_number(value: Any) -> bool:
    if type(value) is int:
        return -MAX_INTEGER <= value <= MAX_INTEGER
    return type(value) is not float or (math.isfinite(value) and not _reads_as_integer(value))


def _reads_as_integer(value: float) -> bool:
    """Whether RFC 8785 writes it as an integer that not every reader keeps."""
    return MAX_INTEGER < abs(value) < _FIRST_EXPONENT and value.is_integer()


def _flaws(value: Any, path: tuple[str | int, ...], levels_left: int) -> Iterator[Flaw]:
    match value:
        case dict() | list() if not levels_left:
            yield Flaw(path, _TOO_DEEP)
        case dict():
            yield from _flaws_of_names(value, path)
            for name, member in value.items():
                yield from _flaws(member, (*path, name), levels_left - 1)
        case list():
            for index, item in enumerate(value):
                yield from _flaws(item, (*path, index), levels_left - 1)
        case str() if not _is_unicode(value):
            yield Flaw(path, "A surrogate stands alone: this is no Unicode text")
        case float() if not math.isfinite(value):
            yield Flaw(path, "Not a number that a double holds")
        case int() | float() if not _is_sound_number(value):
            yield Flaw(path, f"An integer is at most {MAX_INTEGER} in magnitude; send it as text")


def _flaws_of_names(value: dict[str, Any], path: tuple[str | int, ...]) -> Iterator[Flaw]:
    if isinstance(value, _Repeated):
        for name in dict.fromkeys(value.names):
            yield Flaw((*path, name), "The name is there more than once")
    for name in value:
        if not _is_unicode(name):
            yield Flaw((*path, name), "A surrogate stands alone in the name")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _dotted(path: tuple[str | int, ...]) -> str:
    text = ".".join(map(str, path))
    # The path is answered as JSON: a name that is no Unicode text cannot be.
    return text[:_MAX_PATH_LENGTH].encode(errors="replace").decode()
