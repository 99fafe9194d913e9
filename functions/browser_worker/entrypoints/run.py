"""Lambda handler of the browser's function: one command is one batch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from contracts.browser.worker import WorkerCommand
from functions.browser_worker.bootstrap.worker import worker_from_environment

_worker = worker_from_environment()
# One event loop for all calls: the browser belongs to it.
_runner = asyncio.Runner()
# While the environment is made, time is not the caller's.
_runner.run(_worker.chromium.prepare())


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """What came of the batch."""
    command = WorkerCommand.model_validate(event)
    reply = _runner.run(_worker.batches.run(command))
    return reply.model_dump(mode="json")
