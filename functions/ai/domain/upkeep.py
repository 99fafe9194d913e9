"""What is done from time to time, whether or not anybody asks for anything."""

from __future__ import annotations

import asyncio

from functions.ai.domain.job_sweep import JobSweep
from functions.ai.domain.session_sweep import SessionSweep


class UpkeepUnfinishedError(Exception):
    """Some of it failed, which the log tells of. The next run tries again."""


class Upkeep:
    """All of it, one after the other."""

    def __init__(self, jobs: JobSweep, sessions: SessionSweep) -> None:
        self._jobs = jobs
        self._sessions = sessions

    async def run(self, seconds: float) -> None:
        """Begins nothing new after so many seconds. Raises `UpkeepUnfinishedError`."""
        deadline = asyncio.get_running_loop().time() + seconds
        failed = await self._jobs.sweep(deadline) + await self._sessions.sweep(deadline)
        if failed:
            raise UpkeepUnfinishedError(f"{failed} failed.")
