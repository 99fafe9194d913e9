"""How long a session lives."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from functions.ai.domain.models import Session


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Whole days, UTC, that a session lives after the day of its last use; None: until somebody
    deletes it. Whatever is written to a session is a use of it, to read it is none.
    """

    days: int | None

    def first_day(self, now: datetime) -> date | None:
        """A session whose last use lies before that day is over; None where none ever is."""
        if self.days is None:
            return None
        return now.astimezone(UTC).date() - timedelta(days=self.days)

    def is_over(self, session: Session, now: datetime) -> bool:
        """Whether nobody sees the session any more, be it there or not."""
        first_day = self.first_day(now)
        return first_day is not None and session.used_on < first_day
