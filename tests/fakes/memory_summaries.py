"""Summaries in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from functions.ai.domain.errors import HoldsExpiredError, SessionNotFoundError
from functions.ai.domain.summaries import Summary
from functions.ai.domain.turns import Bill
from tests.fakes.memory_money import MemoryMoney

if TYPE_CHECKING:
    from tests.fakes.memory import MemorySessions


class MemorySummaries:
    """`summary_ports.SummaryStore`. Each call happens at once, and others may come before it. With
    a `failure` it raises that instead.
    """

    def __init__(self, sessions: MemorySessions, money: MemoryMoney) -> None:
        self._sessions = sessions
        self._money = money
        self.kept: dict[str, Summary] = {}
        self.leases: dict[str, int] = {}
        self.failure: Exception | None = None
        sessions.forget_summary = self._forget

    async def summary(self, session_id: str) -> Summary | None:
        await self._call()
        return self.kept.get(session_id)

    async def take(self, session_id: str, now: int, lease: int) -> int | None:
        await self._call()
        if not self._visible(session_id):
            raise SessionNotFoundError
        taken = self.leases.get(session_id, now)
        if taken > now:
            return taken
        self.leases[session_id] = lease
        return None

    async def leave(self, session_id: str, lease: int) -> None:
        await asyncio.sleep(0)
        if self.leases.get(session_id) == lease:
            del self.leases[session_id]

    async def keep(self, session_id: str, summary: Summary, bill: Bill, lease: int) -> bool:
        await self._call()
        await self.pay(bill)
        old = self.kept.get(session_id)
        mine = self._visible(session_id) and self.leases.get(session_id) == lease
        if not mine or (old is not None and old.up_to >= summary.up_to):
            return False
        self.kept[session_id] = summary
        return True

    async def pay(self, bill: Bill) -> None:
        if not self._money.pay(bill):
            raise HoldsExpiredError

    def _visible(self, session_id: str) -> bool:
        return session_id in self._sessions.sessions and session_id not in self._sessions.hidden

    def _forget(self, session_id: str) -> None:
        self.kept.pop(session_id, None)
        self.leases.pop(session_id, None)

    async def _call(self) -> None:
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
