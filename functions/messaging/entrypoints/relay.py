"""Lambda handler of the streams' queues and of their dead-letter queues."""

from __future__ import annotations

import asyncio
from typing import Any

from functions.messaging.bootstrap.relay import relay_from_environment

_consumer = relay_from_environment()
# One event loop for all calls: whatever is made within one belongs to it.
_runner = asyncio.Runner()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Names the messages that are to be given again."""
    return _runner.run(_consumer.consume(event, context))
