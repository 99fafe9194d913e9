"""What is left to do when nobody asks for anything, as the store finds it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import date
from typing import Protocol

from functions.ai.domain.models import Session


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
