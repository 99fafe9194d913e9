"""One measured figure and the limit it is held against."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`value` and `limit` in `unit`; no limit: the figure is only told."""

    name: str
    value: float
    unit: str
    limit: float | None = None

    def line(self) -> str:
        """The figure beside its limit."""
        if self.limit is None:
            return f"{self.name:<58} {self.value:>9.2f} {self.unit}"
        verdict = "ok" if self.value <= self.limit else "OVER"
        return f"{self.name:<58} {self.value:>9.2f} {self.unit:<3} <= {self.limit:g}  {verdict}"
