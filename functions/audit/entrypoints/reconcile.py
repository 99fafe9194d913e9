"""Lambda handler that looks, on a schedule, for what is missing: reports, and places in the log."""

from __future__ import annotations

import asyncio

from functions.audit.bootstrap import reconciler_from_environment

_dependencies = reconciler_from_environment()
# One event loop for all calls: whatever is made within one belongs to it.
_runner = asyncio.Runner()


def handler(_event: object, _context: object) -> dict[str, int]:
    """The number of gaps that are older than their grace period, and of unsealed records."""
    gaps = _runner.run(_dependencies.service.run())
    return {"gaps": gaps, "unsealed": _runner.run(_dependencies.unsealed.run())}
