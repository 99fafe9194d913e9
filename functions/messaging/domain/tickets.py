"""Tickets: what lets a client open a connection, once and soon."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from contracts.messaging.progress import TICKET_SECONDS
from servicekit.audit import AuditEntry, AuditTrail
from servicekit.clock import Clock

_BYTES = 32
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What is kept of a ticket: `digest` is the SHA-256 of the secret, in hex."""

    digest: str
    topics: Sequence[str]
    user_id: int | None
    valid_until: datetime
    used: bool = False

    def good(self, now: datetime) -> bool:
        """Whether a connection may be opened with it."""
        return not self.used and now < self.valid_until


@dataclass(frozen=True, slots=True)
class IssuedTicket:
    """A ticket and its secret, which is told once."""

    secret: str
    ticket: Ticket


class TicketStore(Protocol):
    """Where tickets lie until they are used. Every method raises `StoreUnavailableError`."""

    async def add(self, ticket: Ticket) -> None:
        """Keeps a new ticket."""

    async def find(self, digest: str) -> Ticket | None:
        """The ticket, whatever became of it; consistent."""


def digest_of(secret: str) -> str | None:
    """Under what the ticket is kept; None for what cannot be a ticket."""
    if not _SECRET.fullmatch(secret):
        return None
    return hashlib.sha256(secret.encode()).hexdigest()


class TicketService:
    """Issues tickets to services that know who may see what; `url` is the WebSocket's address."""

    def __init__(self, store: TicketStore, trail: AuditTrail, clock: Clock, url: str) -> None:
        self.url = url
        self._store = store
        self._trail = trail
        self._clock = clock

    async def issue(self, topics: Sequence[str], user_id: int | None) -> IssuedTicket:
        """A ticket for these topics, recorded first. Raises `AuditUnavailableError` and
        `StoreUnavailableError`.
        """
        secret = secrets.token_urlsafe(_BYTES)
        digest = hashlib.sha256(secret.encode()).hexdigest()
        await self._trail.record(
            AuditEntry(
                event_type="user_action",
                resource="messaging/tickets",
                action="messaging.ticket.create",
                outcome="allowed",
                user_id=user_id,
                metadata={"topics": list(topics)},
            )
        )
        valid_until = self._clock() + timedelta(seconds=TICKET_SECONDS)
        ticket = Ticket(digest=digest, topics=topics, user_id=user_id, valid_until=valid_until)
        await self._store.add(ticket)
        return IssuedTicket(secret, ticket)
