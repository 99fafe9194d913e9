"""Which events a subscription wants: by their type and by fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from contracts.messaging.envelope import Envelope

ANY_TYPE = "*"

_BELOW = ".*"
_TENANT = "tenant"
_ABSENT: Final = object()


def type_matches(pattern: str, event_type: str) -> bool:
    """`*` is every type, `a.b.*` every type below a.b, anything else that very type."""
    if pattern == ANY_TYPE:
        return True
    if pattern.endswith(_BELOW):
        return event_type.startswith(pattern.removesuffix("*"))
    return pattern == event_type


def filter_holds(wanted: Mapping[str, Any] | None, envelope: Envelope) -> bool:
    """Whether every field has its value, or one of its values."""
    return all(
        _has(_field(path, envelope), values if isinstance(values, list) else [values])
        for path, values in (wanted or {}).items()
    )


def _has(found: object, values: Sequence[object]) -> bool:
    return any(_equal(value, found) for value in values)


def _field(path: str, envelope: Envelope) -> object:
    """What is there; `_ABSENT`, which equals nothing, for what is not."""
    if path == _TENANT:
        return envelope.tenant
    found: object = envelope.data
    for name in path.split(".")[1:]:
        if not isinstance(found, Mapping) or name not in found:
            return _ABSENT
        found = found[name]
    return found


def _equal(wanted: object, found: object) -> bool:
    """As JSON has it: 1 is 1.0, and true is no number."""
    if found is _ABSENT or isinstance(found, dict | list):
        return False
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    return wanted == found
