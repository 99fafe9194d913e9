"""Chats: turns that run in the process that began them."""

from __future__ import annotations

import asyncio

from functions.ai.domain.audit import Action
from functions.ai.domain.channel import Channel, Listening
from functions.ai.domain.runner import TurnRunner
from functions.ai.domain.turn_service import TurnService
from functions.ai.domain.turn_starter import ChatCommand, TurnStarter
from functions.ai.domain.work import Work
from servicekit.idempotency import Claim, Idempotency, Reference, Request

DRAIN_SECONDS = 10
"""How long a process that ends waits for its turns; the local cloud stops processes, Lambda not."""


class ChatService:
    """Begins turns and runs them; those of a key that was used are followed, or run again."""

    def __init__(
        self,
        starter: TurnStarter,
        turns: TurnService,
        runner: TurnRunner,
        idempotency: Idempotency,
    ) -> None:
        self._starter = starter
        self._turns = turns
        self._runner = runner
        self._idempotency = idempotency
        self._running: set[asyncio.Task[None]] = set()

    async def start(self, command: ChatCommand, request: Request | None) -> Listening:
        """Stores the message and calls the model in a task of its own; before that, it is recorded.

        With a key that was used before: follows that turn, or tries it again if it failed. Raises
        the errors of `TurnStarter` and of idempotency.
        """

        async def work(claim: Claim | None) -> Listening:
            return self._run(await self._starter.begin(command, claim, Action.CHAT))

        async def replay(reference: Reference) -> Listening:
            found = await self._starter.again(command, reference)
            return self._run(found) if isinstance(found, Work) else self._turns.followed(found)

        return await self._idempotency.once(request, work, replay)

    async def drain(self) -> None:
        """Waits for the turns that still run, at most `DRAIN_SECONDS`."""
        if self._running:
            await asyncio.wait(self._running, timeout=DRAIN_SECONDS)

    def _run(self, work: Work) -> Listening:
        channel = Channel(work.turn)
        # The web server drops its task when the client leaves; this one goes on.
        task = asyncio.create_task(self._runner.run(work, channel))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return channel
