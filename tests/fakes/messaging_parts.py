"""A function's dependencies of which a test has some."""

from dataclasses import fields
from typing import Any, TypeVar

D = TypeVar("D")


def only(kind: type[D], **parts: Any) -> D:
    """`kind` with these parts and None for the others: whoever uses one of those fails."""
    known: Any = kind
    return kind(**{field.name: parts.pop(field.name, None) for field in fields(known)}, **parts)
