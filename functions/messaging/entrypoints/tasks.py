"""Lambda handler of the tasks' queue: one redrive a message, as long as the function may run."""

from __future__ import annotations

import asyncio
from typing import Any

from functions.messaging.bootstrap.tasks import tasks_from_environment
from functions.messaging.routes.tasks import work

_tasks = tasks_from_environment()
# One event loop for all calls: whatever is made within one belongs to it.
_runner = asyncio.Runner()


def handler(event: dict[str, Any], context: Any) -> None:
    """The queue gives one message at a time: raising brings it again."""

    def remaining() -> float:
        return float(context.get_remaining_time_in_millis()) / 1000

    for record in event["Records"]:
        _runner.run(work(_tasks, record, remaining))
