"""SQS events as Lambda gets them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_RECEIVES = 3
"""After so many tries a message goes to the dead letters: the queue's `maxReceiveCount`."""


@dataclass(frozen=True, slots=True)
class ExportTask:
    """An export to be made; `last_try` when the queue will not give it again."""

    export_id: str
    last_try: bool


def export_task(message: Mapping[str, Any]) -> ExportTask:
    """The task in a message. Raises `ValueError` or `KeyError` on any other message."""
    receives = int(message["attributes"]["ApproximateReceiveCount"])
    return ExportTask(str(json.loads(message["body"])["export_id"]), receives >= MAX_RECEIVES)
