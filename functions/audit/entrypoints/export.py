"""Lambda handler of the export queue: one message, one bundle."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from functions.audit.bootstrap import exporter_from_environment
from functions.audit.routes.queue import export_task

_dependencies = exporter_from_environment()
# One loop for all invocations: locks belong to the loop that they were first waited for in.
_runner = asyncio.Runner()


def handler(event: Mapping[str, Any], _context: object) -> None:
    """Makes the export of the event's only message; a failure brings the message back."""
    (message,) = event["Records"]
    task = export_task(message)
    _runner.run(_dependencies.service.run(task.export_id, last_try=task.last_try))
