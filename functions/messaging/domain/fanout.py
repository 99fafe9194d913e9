"""What happens to every event of every stream: it is offered to the subscriptions."""

from __future__ import annotations

from typing import Protocol

from contracts.messaging.envelope import Envelope


class Fanout(Protocol):
    """The subscriptions, seen from the streams."""

    async def offer(self, envelope: Envelope, replay_id: str | None) -> None:
        """Makes a delivery for each subscription that wants the event.

        May be repeated: a delivery is made once for each event, subscription and replay. Raises
        `StoreUnavailableError`, upon which the queue brings the event again.
        """
