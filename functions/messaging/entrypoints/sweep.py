"""Lambda handler of the sweep: on a schedule, it sends what was accepted and left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from functions.messaging.bootstrap.sweep import sweep_from_environment

_SWEEP_SECONDS = 30.0

_sweeper = sweep_from_environment()
# One event loop for all calls: whatever is made within one belongs to it.
_runner = asyncio.Runner()


def handler(_event: Mapping[str, Any], _context: object) -> dict[str, int]:
    """How many events were sent."""
    return {"sent": _runner.run(_sweeper.sweep(_SWEEP_SECONDS))}
