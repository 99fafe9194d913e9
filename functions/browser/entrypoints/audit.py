"""Lambda handler that brings audit records to the audit sink: from the table's stream as they come,
and on a schedule what was left behind.
"""

from __future__ import annotations

import asyncio
from typing import Any

from functions.browser.bootstrap.audit import audit_from_environment
from servicekit.audit_outbox import items_of_stream

_SWEEP_SECONDS = 45.0

_sender = audit_from_environment()
# One event loop for all calls: connections belong to theirs.
_runner = asyncio.Runner()


def handler(event: dict[str, Any], _context: object) -> None:
    """Raises `NotDeliveredError`, upon which Lambda brings the stream's batch again."""
    records = event.get("Records")
    if records is None:
        _runner.run(_sender.sweep(_SWEEP_SECONDS))
    else:
        _runner.run(_sender.deliver(items_of_stream(records)))
