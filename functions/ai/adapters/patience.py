"""How long a model is waited for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a model may be silent: before its first content, and after it."""

    first_byte: float
    idle: float
