"""A client's side of a connection: it opens, asks, and ends."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta

from pydantic import BaseModel, ValidationError

from contracts.base import utf8_size
from contracts.messaging.progress import (
    MAX_CLIENT_MESSAGE_BYTES,
    ClientMessage,
    ErrorFrame,
    GapFrame,
    PongFrame,
    ResumedFrame,
    SubscribedFrame,
)
from functions.messaging.domain.connections import (
    KEPT_SECONDS,
    MAX_USER_CONNECTIONS,
    SHARD_FILL,
    Connection,
    ConnectionStore,
    grown,
    shard_of,
)
from functions.messaging.domain.frames import progress_frame
from functions.messaging.domain.progress import Message, ProgressLog
from functions.messaging.domain.progress_errors import TicketRefusedError, TooManyConnectionsError
from functions.messaging.domain.sockets import (
    ConnectionBusyError,
    ConnectionGoneError,
    SendingFailedError,
    Sockets,
)
from functions.messaging.domain.tickets import TicketStore, digest_of
from servicekit.clock import Clock
from servicekit.errors import AppError

RESUME_PAGE = 100
"""Messages that one `resume` brings at most: it has to end before API Gateway's 29 s."""

ANSWER_SECONDS = 20.0
_PAUSE_SECONDS = 0.2
_logger = logging.getLogger(__name__)


class Conversations:
    """What clients do."""

    def __init__(
        self,
        tickets: TicketStore,
        store: ConnectionStore,
        log: ProgressLog,
        sockets: Sockets,
        clock: Clock,
    ) -> None:
        self._tickets = tickets
        self._store = store
        self._log = log
        self._sockets = sockets
        self._clock = clock

    async def connect(self, connection_id: str, secret: str | None) -> None:
        """Uses the ticket up and stores the connection.

        Raises `TicketRefusedError`, `TooManyConnectionsError` and `StoreUnavailableError`.
        """
        digest = digest_of(secret) if secret else None
        ticket = await self._tickets.find(digest) if digest else None
        now = self._clock()
        if digest is None or ticket is None or not ticket.good(now):
            raise TicketRefusedError
        if ticket.user_id is not None:
            count = await self._store.of_user(ticket.user_id, MAX_USER_CONNECTIONS)
            if count >= MAX_USER_CONNECTIONS:
                raise TooManyConnectionsError
        counts = await self._store.shards(ticket.topics)
        shards = await asyncio.gather(*(self._room(topic, counts[topic]) for topic in counts))
        connection = Connection(
            connection_id=connection_id,
            topics={
                topic: shard_of(connection_id, n) for topic, n in zip(counts, shards, strict=True)
            },
            user_id=ticket.user_id,
            connected_at=now,
            expires_at=now + timedelta(seconds=KEPT_SECONDS),
        )
        if not await self._store.open(digest, connection):
            raise TicketRefusedError

    async def disconnect(self, connection_id: str) -> None:
        """Forgets the connection. Raises `StoreUnavailableError`."""
        await self._store.remove(connection_id)

    async def receive(self, connection_id: str, text: str | None) -> None:
        """Answers what a client said, if only with an error; `text` is None where it is no text.

        Nothing is raised: there would be nobody to tell.
        """
        speaker = _Speaker(self._sockets, connection_id)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                try:
                    await self._answer(connection_id, text, speaker)
                except AppError:
                    _logger.warning("a client was not answered", exc_info=True)
                    await speaker.refuse("failed", "Say it again later.")
        except (ConnectionGoneError, SendingFailedError, TimeoutError):
            # What is left of it goes by its own end, or when somebody pushes to it.
            return

    async def _room(self, topic: str, shards: int) -> int:
        """How many shards the topic has, once there is room for one more connection."""
        fill = await self._store.fill(topic, shards - 1, SHARD_FILL + 1)
        wanted = grown(shards, fill)
        if wanted > shards:
            await self._store.grow(topic, shards, wanted)
            # Others may have been faster: what there is now is what every push reads.
            return (await self._store.shards([topic]))[topic]
        return shards

    async def _answer(self, connection_id: str, text: str | None, speaker: _Speaker) -> None:
        if text is not None and utf8_size(text) > MAX_CLIENT_MESSAGE_BYTES:
            limit = f"A message has at most {MAX_CLIENT_MESSAGE_BYTES} bytes."
            await speaker.refuse("message_too_large", limit)
            return
        said = _read(text)
        if said is None:
            await speaker.refuse("malformed_message", "See ClientMessage in the contract.")
            return
        if said.action == "ping":
            await speaker.say(PongFrame())
            return
        topic = said.topic or ""
        connection = await self._store.get(connection_id)
        if connection is None:
            await speaker.refuse("not_connected", "The connection is forgotten: open another one.")
        elif topic not in connection.topics:
            await speaker.refuse("topic_not_granted", "The ticket did not name the topic.")
        elif said.action == "subscribe":
            await self._store.join(connection, topic)
            await speaker.say(SubscribedFrame(type="subscribed", topic=topic))
        elif said.action == "unsubscribe":
            await self._store.leave(connection, topic)
            await speaker.say(SubscribedFrame(type="unsubscribed", topic=topic))
        else:
            await self._resume(topic, said.after, speaker)

    async def _resume(self, topic: str, after: int | None, speaker: _Speaker) -> None:
        # The head first: what the log does not have of it then was never there or is gone.
        head = await self._log.head(topic)
        if after is None:
            await speaker.say(ResumedFrame(topic=topic, sequence=head))
            return
        # A topic that nobody used for long begins anew: then the client is ahead of it.
        position = after if after <= head else 0
        messages = await self._log.after(topic, position, RESUME_PAGE)
        if after > head:
            position = messages[0].sequence - 1 if messages else head
            await speaker.say(GapFrame(topic=topic, after=after, sequence=position))
        position = await self._tell(topic, position, messages, speaker)
        if not messages and position < head:
            await speaker.say(GapFrame(topic=topic, after=position, sequence=head))
            position = head
        await speaker.say(ResumedFrame(topic=topic, sequence=position, more=position < head))

    @staticmethod
    async def _tell(topic: str, position: int, messages: list[Message], speaker: _Speaker) -> int:
        """Sends messages in order; returns the last one's sequence."""
        for message in messages:
            before = message.sequence - 1
            if before > position:
                await speaker.say(GapFrame(topic=topic, after=position, sequence=before))
            await speaker.send(progress_frame(message))
            position = message.sequence
        return position


class _Speaker:
    """Sends to one connection, one frame after another."""

    def __init__(self, sockets: Sockets, connection_id: str) -> None:
        self._sockets = sockets
        self._connection_id = connection_id

    async def say(self, frame: BaseModel) -> None:
        await self.send(frame.model_dump_json())

    async def refuse(self, code: str, detail: str) -> None:
        await self.say(ErrorFrame.model_validate({"code": code, "detail": detail}))

    async def send(self, text: str) -> None:
        """Waits as long as it is throttled: `receive` has a deadline for all."""
        while True:
            try:
                await self._sockets.send(self._connection_id, text)
            except ConnectionBusyError:
                await asyncio.sleep(random.uniform(0, _PAUSE_SECONDS))  # noqa: S311
            else:
                return


def _read(text: str | None) -> ClientMessage | None:
    """What was said; None if it means nothing."""
    try:
        said = ClientMessage.model_validate_json(text or "")
    except ValidationError:
        return None
    return said if said.action == "ping" or said.topic is not None else None
