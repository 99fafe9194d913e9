"""Lambda handler of the WebSocket API's routes."""

from __future__ import annotations

import asyncio
from typing import Any

from functions.messaging.bootstrap.progress import socket_from_environment
from functions.messaging.routes.socket import answer

_dependencies = socket_from_environment()
# One event loop for all calls.
_runner = asyncio.Runner()


def handler(event: dict[str, Any], _context: object) -> dict[str, int]:
    """Opens, answers and ends connections."""
    return _runner.run(answer(_dependencies.conversations, event))
