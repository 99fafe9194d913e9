"""One command in flight a session: a lease with an epoch."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from functions.browser.domain.session_errors import SessionBusyError, SessionNotFoundError
from functions.browser.domain.sessions import Limits, Session
from servicekit.clock import Clock
from servicekit.ids import new_ulid

MARGIN = timedelta(seconds=5)
"""How much longer than its command a lease lasts: what the function needs to begin and to end."""

_PAUSE_SECONDS = 0.25
_MAX_RETRY_AFTER_SECONDS = 30

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run one command. `session` is as the command finds it, `epoch` its number."""

    session: Session
    token: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else has the lease, until then at the latest."""

    until: datetime


class LeaseStore(Protocol):
    """Where leases live, with their sessions. Raises `StoreUnavailableError`."""

    async def take(
        self, session_id: str, token: str, until: datetime, now: datetime
    ) -> Lease | Busy | None:
        """The next epoch of an open session that is not due and whose lease is over.

        Returns None where there is no such session.
        """

    async def give_back(self, lease: Lease, after: Session | None) -> bool:
        """Ends the lease and stores what became of the session, if anything.

        Returns False where the session ended, or the lease is another's by now.
        """


class Leases:
    """Waits for a session's turn."""

    def __init__(self, store: LeaseStore, limits: Limits, clock: Clock, sleep: Sleep) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock
        self._sleep = sleep

    async def take(self, session_id: str, *, work: timedelta, patience: timedelta) -> Lease:
        """A lease for `work`, waiting for `patience` while another command is in flight.

        Raises `SessionBusyError` and `SessionNotFoundError`.
        """
        token = new_ulid()
        give_up = self._clock() + patience
        while True:
            now = self._clock()
            taken = await self._store.take(session_id, token, now + work + MARGIN, now)
            if taken is None:
                raise SessionNotFoundError
            if isinstance(taken, Lease):
                return taken
            left = (give_up - now).total_seconds()
            if left <= 0:
                seconds = math.ceil((taken.until - now).total_seconds())
                raise SessionBusyError(retry_after=min(max(1, seconds), _MAX_RETRY_AFTER_SECONDS))
            await self._sleep(min(_PAUSE_SECONDS, left))

    async def finish(self, lease: Lease, after: Session) -> None:
        """Stores the session as the command left it. Raises `SessionNotFoundError` if it ended."""
        used = after.used(self._clock(), self._limits)
        if not await self._store.give_back(lease, used):
            raise SessionNotFoundError

    async def abandon(self, lease: Lease) -> None:
        """Nothing was done: the next command may come at once."""
        await self._store.give_back(lease, None)
