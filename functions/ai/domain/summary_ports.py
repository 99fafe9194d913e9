"""What summaries need from outside."""

from __future__ import annotations

from typing import Protocol

from functions.ai.domain.summaries import Summary
from functions.ai.domain.turns import Bill


class SummaryStore(Protocol):
    """A session's one summary, and the lease of whoever makes its next one. Every write is
    conditional, and atomic unless it says not.

    A lease is the time (Unix seconds) until which it holds.
    """

    async def summary(self, session_id: str) -> Summary | None:
        """The session's summary, or None; consistent."""

    async def take(self, session_id: str, now: int, lease: int) -> int | None:
        """Takes the session for a summary until `lease`: None, or until when another has it.

        Raises `SessionNotFoundError`.
        """

    async def leave(self, session_id: str, lease: int) -> None:
        """Lets go of the session, if the lease is still the one that was taken."""

    async def keep(self, session_id: str, summary: Summary, bill: Bill, lease: int) -> bool:
        """Stores a summary in the place of one that tells of less, under the lease that was taken.
        The bill is stored at any rate, if need be by itself.

        False where the summary was not stored: the session or the lease is gone, or another tells
        of as much. Raises `HoldsExpiredError` when the bill's settlement does not hold any more:
        then nothing is stored.
        """

    async def pay(self, bill: Bill) -> None:
        """Stores what a call cost of which nothing came. Raises `HoldsExpiredError`."""
