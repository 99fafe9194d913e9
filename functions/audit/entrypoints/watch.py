"""Lambda handler of the record table's stream: a record that is changed or removed is an alarm."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from functions.audit.bootstrap import watcher_from_environment
from functions.audit.routes.stream import changed

dependencies = watcher_from_environment()
# One loop for all invocations: locks belong to the loop that they were first waited for in.
_runner = asyncio.Runner()


def handler(event: Mapping[str, Any], _context: object) -> None:
    """Tells of what must not happen."""
    _runner.run(dependencies.service.report(changed(event)))
