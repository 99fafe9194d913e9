"""Lambda handler of the reaper: on a schedule, it ends sessions that nobody uses any more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from functions.browser.bootstrap.reap import reaper_from_environment

_reaper = reaper_from_environment()
# One event loop for all calls: whatever is made within one belongs to it.
_runner = asyncio.Runner()


def handler(_event: Mapping[str, Any], _context: object) -> dict[str, int]:
    """How many sessions were ended."""
    return {"ended": _runner.run(_reaper.reap())}
