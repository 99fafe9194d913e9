"""Removes the sessions whose time is over, and what deletions left that did not get to their end.

A TTL would take the session's item first, and with it the only way to its messages, turns and
images. So no item of a session has one: it is taken last, by whoever removed the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import date
from typing import cast

from functions.ai.domain.erasure import erase
from functions.ai.domain.errors import SessionNotFoundError
from functions.ai.domain.lifetime import Lifetime
from functions.ai.domain.ports import ContentStore, SessionStore
from functions.ai.domain.upkeep_ports import OldSessions
from servicekit.clock import Clock
from servicekit.errors import AppError

_logger = logging.getLogger(__name__)


class SessionSweep:
    """Whatever a run does not come to, or fails at, the next one finds again."""

    def __init__(
        self,
        old: OldSessions,
        store: SessionStore,
        content: ContentStore,
        lifetime: Lifetime,
        clock: Clock,
    ) -> None:
        self._old = old
        self._store = store
        self._content = content
        self._lifetime = lifetime
        self._clock = clock

    async def sweep(self, deadline: float) -> int:
        """Begins no page after that time of the event loop. Returns how many sessions failed."""
        day = self._lifetime.first_day(self._clock())
        clock = asyncio.get_running_loop().time
        failed = 0
        found = cast("AsyncGenerator[Sequence[str]]", self._old.unused_since(day))
        async with aclosing(found) as pages:
            async for page in pages:
                done = await asyncio.gather(*(self._remove(session_id, day) for session_id in page))
                failed += done.count(False)
                if clock() > deadline:
                    break
        return failed

    async def _remove(self, session_id: str, day: date | None) -> bool:
        """Whether nothing is left to do."""
        try:
            session = await self._old.hide_unused(session_id, day)
            if session is not None:
                await erase(session, self._store, self._content)
                _logger.info("session removed", extra={"session_id": session_id})
        except SessionNotFoundError:
            pass  # another was faster
        except AppError:
            _logger.exception("session not removed", extra={"session_id": session_id})
            return False
        return True
