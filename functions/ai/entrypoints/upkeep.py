"""Lambda handler of the schedule: late jobs are seen to, and sessions whose time is over go."""

from __future__ import annotations

import asyncio

from functions.ai.bootstrap import upkeep_from_environment

# Of the function's five minutes, those in which it begins with another page.
_SECONDS = 200.0

_upkeep = upkeep_from_environment()
# One event loop for all calls.
_runner = asyncio.Runner()


def handler(_event: object, _context: object) -> None:
    """Raises `UpkeepUnfinishedError`, for the alarm on failures."""
    _runner.run(_upkeep.run(_SECONDS))
