"""Lambda handler of the schedule that sends for webhook deliveries that are due."""

from __future__ import annotations

import asyncio
from typing import Any

from functions.messaging.bootstrap.webhooks import due_from_environment

_sweep = due_from_environment()
# One event loop for all calls.
_runner = asyncio.Runner()


def handler(_event: dict[str, Any], _context: object) -> None:
    """What fails is left to the next minute."""
    _runner.run(_sweep.sweep())
