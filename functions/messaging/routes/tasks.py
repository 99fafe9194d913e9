"""Messages of the tasks' queue, as Lambda gets them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from functions.messaging.domain.dependencies import Tasks
from functions.messaging.domain.redrives import RedriveHeldError

_logger = logging.getLogger(__name__)


async def work(tasks: Tasks, record: Mapping[str, Any], remaining: Callable[[], float]) -> None:
    """Does what a message asks for. Raises whatever failed: then the message comes again."""
    try:
        body = json.loads(record["body"])
        await tasks.redrives.work(str(body["redrive_id"]), remaining)
    except RedriveHeldError:
        # By a process that lives, or by one that died and whose time is not over.
        _logger.info("a redrive is another's", extra={"message_id": record.get("messageId")})
        raise
    except Exception:
        _logger.exception("a task was not done", extra={"message_id": record.get("messageId")})
        raise
