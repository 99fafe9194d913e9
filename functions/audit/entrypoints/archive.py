"""Lambda handler of the record table's stream: each stored record goes to the archive.

A failure fails the batch: the stream gives it again, halved, and readers drop repeated ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from functions.audit.bootstrap import archiver_from_environment
from functions.audit.routes.stream import inserted

dependencies = archiver_from_environment()
# One loop for all invocations: locks belong to the loop that they were first waited for in.
_runner = asyncio.Runner()


def handler(event: Mapping[str, Any], _context: object) -> None:
    """Archives the records that were stored."""
    _runner.run(dependencies.service.archive(inserted(event)))
