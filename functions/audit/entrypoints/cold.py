"""Lambda handler of queries over the archive; the query function invokes it and waits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from functions.audit.bootstrap import cold_from_environment

dependencies = cold_from_environment()
# One loop for all invocations: locks belong to the loop that they were first waited for in.
_runner = asyncio.Runner()


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Answers a request of `functions.audit.domain.cold`."""
    return _runner.run(dependencies.service.answer(event))
