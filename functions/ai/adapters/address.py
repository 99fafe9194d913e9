"""Where another service is said to be."""

from __future__ import annotations

from typing import Protocol


class Address(Protocol):
    """Of another service's API, as `servicekit.parameters.Parameter` has it."""

    async def get(self) -> str:
        """The address. Raises `ParameterUnavailableError`."""

    def forget(self) -> None:
        """Has the next `get` ask again."""
