"""Replaces personal data in the text of metadata, by a policy of kinds.

Every expression reads a text once, in time linear in its length: quantifiers are possessive,
bounded, or begin only where a token does. What was replaced ends in a bracket, which counts as part
of a token on both sides, so that masking what is masked changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

EMAIL, PHONE, SSN, CREDIT_CARD = "email", "phone", "ssn", "credit_card"
KINDS = frozenset({EMAIL, PHONE, SSN, CREDIT_CARD})
"""What a policy can name."""

# No letter, digit or replaced text may touch a number, nor be joined to it as in ids, dates and
# versions.
_ALONE = r"(?<![0-9A-Za-z_\]])(?<![0-9\]][-.:/])"
_BEFORE = _ALONE + r"(?<![A-Za-z_][-./])"
_AFTER = r"(?![0-9A-Za-z_\[])(?![-.:/][0-9\[])(?![-/][A-Za-z_])"

# Addresses that hang together are one match: else the second would be found only the next time.
_EMAIL = re.compile(
    r"(?<![\w.!+'~-])(?:[\w.!+'~-]++(?:@|%40)(?:[\w-]+\.)+[^\W\d_]{2,63}(?!\d))+", re.IGNORECASE
)
_CARD = re.compile(
    _ALONE + r"[0-9]{4}(?:[ -]?[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{1,4}(?:[ -]?[0-9]{3})?"
    r"|[ -][0-9]{6}[ -][0-9]{4,5})" + _AFTER
)
# https://www.ssa.gov/employer/randomization.html: what no number has.
_SSN = re.compile(_BEFORE + r"(?!000|666|9)[0-9]{3}([ -])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}" + _AFTER)
_PHONES = (
    # E.164, however it is spaced.
    re.compile(r"(?<![0-9A-Za-z_+\]])\+[1-9](?:[ .()-]{0,2}[0-9]){7,14}" + _AFTER),
    # The same after an international prefix.
    re.compile(_BEFORE + r"00[1-9][0-9]{0,2}[ -](?:[ -]?[0-9]){6,12}" + _AFTER),
    # North America.
    re.compile(
        _BEFORE + r"(?:1[ .-])?(?:\([0-9]{3}\) ?|[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}" + _AFTER
    ),
    # An area code in parentheses.
    re.compile(_BEFORE + r"\(0[0-9]{1,4}\)[ -]?[0-9]{3,4}[ -]?[0-9]{3,5}" + _AFTER),
)
_TRUNK = re.compile(_BEFORE + r"0[1-9][0-9]{0,4}([ .-])[0-9]{2,8}(?:\1[0-9]{2,8}){0,4}" + _AFTER)
_TRUNK_DIGITS = range(10, 13)
# Without separators, where the name says what it is.
_BARE_SSN = re.compile(_BEFORE + r"(?!000|666|9)[0-9]{3}(?!00)[0-9]{2}(?!0000)[0-9]{4}" + _AFTER)
_BARE_PHONE = re.compile(_BEFORE + r"[0-9]{7,15}" + _AFTER)
_NAMED_SSN = re.compile(r"(?:^|_)ssn|social_?security", re.IGNORECASE)
_NAMED_PHONE = re.compile(r"(?:^|_)(?:phone|mobile|tel|fax)(?:_|$)|telephone", re.IGNORECASE)
_SUSPECT = re.compile(r"@|%40|(?<![0-9A-Za-z_])[0-9][0-9 .()-]{5,}[0-9](?![0-9A-Za-z_])", re.ASCII)

_LEAST_CARD_DIGITS = 13
_LEAST_CARD = 10 ** (_LEAST_CARD_DIGITS - 1)
# Ranges of a number's first six digits, and the lengths it has: ISO/IEC 7812, by issuer.
_ISSUERS: tuple[tuple[int, int, frozenset[int]], ...] = (
    (400000, 499999, frozenset({13, 16, 19})),  # Visa
    (510000, 559999, frozenset({16})),  # Mastercard
    (222100, 272099, frozenset({16})),
    (340000, 349999, frozenset({15})),  # American Express
    (370000, 379999, frozenset({15})),
    (300000, 305999, frozenset({14, 16, 19})),  # Diners Club
    (309500, 309599, frozenset({14, 16, 19})),
    (360000, 369999, frozenset({14, 16, 19})),
    (380000, 399999, frozenset({14, 16, 19})),
    (352800, 358999, frozenset({16, 17, 18, 19})),  # JCB
    (601100, 601199, frozenset({16, 17, 18, 19})),  # Discover
    (644000, 659999, frozenset({16, 17, 18, 19})),
    (620000, 629999, frozenset({16, 17, 18, 19})),  # UnionPay
    (500000, 509999, frozenset({13, 14, 15, 16, 17, 18, 19})),  # Maestro
    (560000, 589999, frozenset({13, 14, 15, 16, 17, 18, 19})),
    (630400, 639099, frozenset({13, 14, 15, 16, 17, 18, 19})),
    (675900, 676399, frozenset({13, 14, 15, 16, 17, 18, 19})),
)


@dataclass(frozen=True, slots=True)
class Masked:
    """A place whose text was replaced, and what it held."""

    path: str
    kinds: tuple[str, ...]


class Masking:
    """One policy. Raises `ValueError` for a kind that there is not."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self._kinds = frozenset(kinds)
        unknown = self._kinds - KINDS
        if unknown:
            raise ValueError(f"There is no masking of {', '.join(sorted(unknown))}")

    def suspects(self, text: str) -> bool:
        """False if neither `text`, nor any part of a JSON document that is `text`, is masked."""
        return bool(self._kinds) and _SUSPECT.search(text) is not None

    def mask(self, value: Any, path: str, found: list[Masked]) -> Any:
        """`value` with its texts and names masked; what was replaced is added to `found`.

        `path` is the value's own. What needs no masking is the same object as before.
        """
        name = path.rpartition(".")[2]
        return self._mask(value, name, path, found)

    def _mask(self, value: Any, name: str, path: str, found: list[Masked]) -> Any:
        if type(value) is float and value.is_integer():
            # It is stored without its fraction, as RFC 8785 writes it.
            value = int(value)
        kind = type(value)
        if kind is str or kind is int:
            masked, kinds = self._scalar(value, name)
            if kinds:
                found.append(Masked(path, kinds))
            return masked
        if kind is dict:
            return self._object(value, path, found)
        if kind is list:
            return [
                self._mask(item, name, f"{path}.{index}", found) for index, item in enumerate(value)
            ]
        return value

    def _object(self, value: Mapping[str, Any], path: str, found: list[Masked]) -> dict[str, Any]:
        masked: dict[str, Any] = {}
        # Two names may become one: they are told apart in an order that is the same every time.
        for name, member in sorted(value.items()):
            shown, kinds = self._text(name, "")
            if kinds:
                shown = _unused(shown, value.keys() | masked.keys())
                found.append(Masked(f"{path}.{shown}", kinds))
            masked[shown] = self._mask(member, name, f"{path}.{shown}", found)
        return masked

    def _scalar(self, value: str | int, name: str) -> tuple[str | int, tuple[str, ...]]:
        if isinstance(value, str):
            return self._text(value, name)
        # Other numbers are counts and ids, however much they look like somebody's.
        named = _is_named(name)
        if value < _LEAST_CARD and not named:
            return value, ()
        masked, kinds = self._text(str(value), name)
        return (masked, kinds) if named or CREDIT_CARD in kinds else (value, ())

    def _text(self, text: str, name: str) -> tuple[str, tuple[str, ...]]:
        if not self.suspects(text):
            return text, ()
        kinds: list[str] = []
        if EMAIL in self._kinds:
            text = _replace(_EMAIL, EMAIL, text, kinds)
        if CREDIT_CARD in self._kinds:
            text = _replace(_CARD, CREDIT_CARD, text, kinds, _is_card)
        if SSN in self._kinds:
            text = _replace(_SSN, SSN, text, kinds)
            if _NAMED_SSN.search(name):
                text = _replace(_BARE_SSN, SSN, text, kinds)
        if PHONE in self._kinds:
            text = _replace_phones(text, name, kinds)
        return text, tuple(dict.fromkeys(kinds))


def _is_named(name: str) -> bool:
    """Whether a name says that its number is somebody's."""
    return bool(_NAMED_SSN.search(name) or _NAMED_PHONE.search(name))


def _replace(
    expression: re.Pattern[str],
    kind: str,
    text: str,
    kinds: list[str],
    holds: Callable[[str], bool] | None = None,
) -> str:
    def replace(match: re.Match[str]) -> str:
        if holds is not None and not holds(match.group()):
            return match.group()
        kinds.append(kind)
        return f"[{kind}]"

    return expression.sub(replace, text)


def _replace_phones(text: str, name: str, kinds: list[str]) -> str:
    for expression in _PHONES:
        text = _replace(expression, PHONE, text, kinds)
    # A trunk zero and groups: with fewer digits they may be anything.
    text = _replace(_TRUNK, PHONE, text, kinds, lambda found: _count_digits(found) in _TRUNK_DIGITS)
    return _replace(_BARE_PHONE, PHONE, text, kinds) if _NAMED_PHONE.search(name) else text


def _count_digits(text: str) -> int:
    return sum(map(str.isdigit, text))


def _is_card(written: str) -> bool:
    digits = written.replace(" ", "").replace("-", "")
    first = int(digits[:6])
    return any(
        least <= first <= most and len(digits) in lengths for least, most, lengths in _ISSUERS
    ) and _passes_luhn(digits)


def _passes_luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled  # noqa: PLR2004
    return total % 10 == 0


def _unused(name: str, taken: Iterable[str]) -> str:
    names = set(taken)
    candidate, count = name, 1
    while candidate in names:
        count += 1
        candidate = f"{name} {count}"
    return candidate
