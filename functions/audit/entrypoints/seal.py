"""Lambda handler of the sealer: on a schedule, and when a flush asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from functions.audit.bootstrap import sealer_from_environment

_dependencies = sealer_from_environment()
# One event loop for all calls: whatever is made within one belongs to it.
_runner = asyncio.Runner()


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Seals what is pending."""
    return _runner.run(_dependencies.service.run(event))
