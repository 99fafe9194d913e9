"""Each minute: what is due and was not sent for, or whose message was lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from functions.messaging.domain.queue_errors import QueueUnavailableError
from functions.messaging.domain.webhook_disabling import Telling
from functions.messaging.domain.webhook_ports import (
    DeliveryMessage,
    DeliveryQueue,
    DueDelivery,
    DueStore,
    OrderedMessage,
)
from servicekit.clock import Clock

SHARDS = 8
"""Of the index of what is due; more may be added at any time."""

RESENT_SECONDS = 600
"""When the sweep looks after a delivery again that it sent for: the queue may be long."""

RESENT_ORDERED_SECONDS = 3600
"""The same for one that waits for its turn, which may be behind others that fail for hours."""

_PAGE = 100
_SWEEP_SECONDS = 40.0
_logger = logging.getLogger(__name__)


class DueSweep:
    """Sends for deliveries that are due, and has disabled subscriptions announced."""

    def __init__(
        self,
        store: DueStore,
        queue: DeliveryQueue,
        telling: Telling,
        clock: Clock,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._queue = queue
        self._telling = telling
        self._clock = clock
        self._timer = timer

    async def sweep(self) -> None:
        """Goes through all shards. What fails in one is left to the next sweep."""
        results = await asyncio.gather(
            *(self._shard(shard) for shard in range(SHARDS)), return_exceptions=True
        )
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            raise failures[0]

    async def _shard(self, shard: int) -> None:
        began = self._timer()
        while self._timer() - began < _SWEEP_SECONDS:
            due = await self._store.due(shard, self._clock(), _PAGE)
            for subscription in due.disabled:
                await self._telling.announce(subscription)
            try:
                await self._send(due.deliveries)
            except QueueUnavailableError:
                _logger.warning("left to the next sweep", extra={"shard": shard})
                return
            # Afterwards: what is sent twice does no harm, what is postponed unsent waits.
            now = self._clock()
            await asyncio.gather(
                *(self._store.postpone(one, now + _pause(one)) for one in due.deliveries)
            )
            if len(due.deliveries) < _PAGE:
                return

    async def _send(self, found: Sequence[DueDelivery]) -> None:
        ordered = [one for one in found if _waits_for_its_turn(one)]
        await self._queue.send(
            [DeliveryMessage(one.delivery.key) for one in found if not _waits_for_its_turn(one)]
        )
        await self._queue.send_ordered(
            [
                OrderedMessage(
                    one.delivery.key.subscription_id,
                    one.delivery.ordering_key or "",
                    one.delivery.key.event_id,
                    repetition=one.due_at,
                )
                for one in ordered
            ]
        )


def _pause(one: DueDelivery) -> timedelta:
    seconds = RESENT_ORDERED_SECONDS if _waits_for_its_turn(one) else RESENT_SECONDS
    return timedelta(seconds=seconds)


def _waits_for_its_turn(one: DueDelivery) -> bool:
    return one.delivery.open and one.delivery.ordering_key is not None
