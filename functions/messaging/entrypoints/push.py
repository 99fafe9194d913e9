"""Lambda handler that pushes one message to many connections."""

from __future__ import annotations

import asyncio
from typing import Any

from functions.messaging.bootstrap.progress import push_from_environment

_SECONDS = 60.0

_dependencies = push_from_environment()
# One event loop for all calls.
_runner = asyncio.Runner()


async def _push(event: dict[str, Any]) -> None:
    deadline = asyncio.get_running_loop().time() + _SECONDS
    await _dependencies.pusher.run(_dependencies.read(event), deadline)


def handler(event: dict[str, Any], _context: object) -> None:
    """Raises where the table does not answer: Lambda calls again, and clients drop doubles."""
    _runner.run(_push(event))
