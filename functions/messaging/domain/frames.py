"""What is sent over a connection, as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from contracts.messaging.progress import ProgressFrame

if TYPE_CHECKING:
    from functions.messaging.domain.progress import Message


def progress_frame(message: Message) -> str:
    """A message of a topic."""
    return ProgressFrame(
        topic=message.topic,
        sequence=message.sequence,
        at=message.at,
        data=json.loads(message.data),
        terminal=message.terminal,
    ).model_dump_json()
