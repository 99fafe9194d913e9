"""Settings: a frozen model of the environment, read once by a service's bootstrap."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError


class SettingsError(Exception):
    """The environment lacks variables or holds unusable ones; the message names them, no values."""


class Settings(BaseModel):
    """Base of every settings model: each field is the environment variable of its upper-case name.

    What the infrastructure provides has no default, so a variable that is missing is noticed.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Reads the variables. Raises `SettingsError`."""
        source = os.environ if environ is None else environ
        names = {field: field.upper() for field in cls.model_fields}
        found = {field: source[name] for field, name in names.items() if name in source}
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            raise SettingsError(_describe(error, names)) from None


def _describe(error: ValidationError, names: Mapping[str, str]) -> str:
    missing, invalid = [], []
    for problem in error.errors(include_input=False, include_url=False):
        name = names.get(str(problem["loc"][0]), str(problem["loc"][0])) if problem["loc"] else "?"
        if problem["type"] == "missing":
            missing.append(name)
        else:
            invalid.append(f"{name} ({problem['msg']})")
    parts = []
    if missing:
        parts.append(f"missing environment variables: {', '.join(sorted(missing))}")
    if invalid:
        parts.append(f"invalid environment variables: {', '.join(sorted(invalid))}")
    return "; ".join(parts)
