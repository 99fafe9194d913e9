"""One measured figure and the limit it is held against."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`value` and its bound in `unit`: at most `limit`, or at least `floor`; without either, the
    figure is only told. `remark` says what else is known of it.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    floor: float | None = None
    remark: str = ""

    @property
    def missed(self) -> bool:
        """Whether it is beyond its bound."""
        over = self.limit is not None and self.value > self.limit
        return over or (self.floor is not None and self.value < self.floor)

    def line(self) -> str:
        """The figure beside its bound."""
        if self.limit is not None:
            verdict = "OVER" if self.missed else "ok"
            text = f"{self.value:>9.2f} {self.unit:<3} <= {self.limit:g}  {verdict}"
        elif self.floor is not None:
            verdict = "UNDER" if self.missed else "ok"
            text = f"{self.value:>9.2f} {self.unit:<3} >= {self.floor:g}  {verdict}"
        else:
            text = f"{self.value:>9.2f} {self.unit}"
        return f"{self.name:<58} {text}{self.remark and f'  ({self.remark})'}".rstrip()
