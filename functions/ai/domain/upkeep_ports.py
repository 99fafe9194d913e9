"""What is left to do when nobody asks for anything, as the store finds it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime
from typing import Protocol

from functions.ai.domain.models import Session
from functions.ai.domain.turns import Turn


class OldSessions(Protocol):
    """Sessions that are to go."""

    def unused_since(self, day: date | None) -> AsyncIterator[Sequence[str]]:
        """Ids, page by page, of sessions last used before the day, and in any case of those whose
        deletion has begun. What was written a moment ago may be missing, or be there all the same.
        """

    async def hide_unused(self, session_id: str, day: date | None) -> Session | None:
        """The session, invisible from now on; None where it is gone, or was used since that day.

        One whose deletion has begun is returned as it is.
        """


class WaitingJobs(Protocol):
    """Jobs whose message has not come to a worker."""

    def queued_before(self, at: datetime) -> AsyncIterator[Sequence[str]]:
        """Ids of their turns, page by page, those that wait longest first: queued before that
        time, and not put off since. What was written a moment ago may be missing, or be there all
        the same.
        """

    async def put_off(self, turn: Turn, at: datetime) -> None:
        """Lets the turn count as queued at that time; one that is not queued stays as it is."""


class UpkeepStore(OldSessions, WaitingJobs, Protocol):
    """All that a run finds to do."""
