"""Lambda handler of the table's stream: new jobs and summaries that are due go to their queues,
changes of jobs to the message service.

A failure fails the batch: the stream gives it again, halved.
"""

from __future__ import annotations

import asyncio
from typing import Any

from functions.ai.bootstrap import dispatch_from_environment

dependencies = dispatch_from_environment()
# One event loop for all calls.
_runner = asyncio.Runner()


def handler(event: dict[str, Any], _context: object) -> None:
    """Sends what the changes ask for."""
    changes = dependencies.read(event["Records"])
    _runner.run(dependencies.service.dispatch(changes))
