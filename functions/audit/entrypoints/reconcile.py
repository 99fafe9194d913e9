"""Lambda handler that looks for gaps in what producers report, on a schedule."""

from __future__ import annotations

import asyncio

from functions.audit.bootstrap import reconciler_from_environment

_dependencies = reconciler_from_environment()
# One event loop for all calls: whatever is made within one belongs to it.
_runner = asyncio.Runner()


def handler(_event: object, _context: object) -> dict[str, int]:
    """The number of gaps that are older than their grace period."""
    return {"gaps": _runner.run(_dependencies.service.run())}
