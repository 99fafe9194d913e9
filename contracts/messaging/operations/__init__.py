"""The operations of messaging v1: the source of its OpenAPI document and of its API's routes."""

from __future__ import annotations

from contracts.messaging.operations import (
    dead_letters,
    deliveries,
    figures,
    health,
    progress,
    publishing,
    replays,
    subscriptions,
)
from contracts.messaging.progress import FRAMES
from contracts.operation import Contract

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Of a request: API Gateway and Lambda take 10 and 6 MB."""

MESSAGING_V1 = Contract(
    service="messaging",
    version="v1",
    title="Message service",
    description=(
        "Events that are never lost, explained from publish to last attempt, and live progress. "
        "Internal: every call but GET /health is signed with SigV4 (service `execute-api`) by a "
        "role that the API's resource policy names; `user_id` is believed because the role is."
    ),
    local_url="http://127.0.0.1:8004",
    operations=(
        *health.OPERATIONS,
        *publishing.OPERATIONS,
        *deliveries.OPERATIONS,
        *figures.OPERATIONS,
        *dead_letters.OPERATIONS,
        *replays.OPERATIONS,
        *progress.OPERATIONS,
        *subscriptions.OPERATIONS,
    ),
    messages=FRAMES,
)
