"""Keys that items of webhooks share."""

from __future__ import annotations

import zlib
from datetime import datetime

from functions.messaging.domain.webhook_sweep import SHARDS
from servicekit.clock import to_text

DUE_INDEX = "gsi2"
DELIVERIES_INDEX = "gsi1"


def due_keys(owner: str, at: datetime) -> dict[str, str]:
    """Where the sweep finds an item from that time on; `owner` spreads items over the shards."""
    return {"gsi2pk": due_partition(zlib.crc32(owner.encode()) % SHARDS), "gsi2sk": to_text(at)}


def due_partition(shard: int) -> str:
    """A shard's partition of the index."""
    return f"DUE#{shard:02}"
