"""What the domain needs from outside."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from functions.ai.domain.inference import Completion, Prompt, Said
from functions.ai.domain.models import (
    Draft,
    Message,
    Session,
    SessionChanges,
    SessionFilter,
    SessionPage,
)
from functions.ai.domain.turns import Bill, Ending, Numbered, Signal, Turn
from servicekit.idempotency import ClaimUpdate

Settlement = Callable[[Sequence[Message]], ClaimUpdate]
"""Says, of the messages as they get stored, what the claim's record shall hold."""


class SessionStore(Protocol):
    """Sessions and their messages. Every write is conditional, and atomic unless it says not."""

    async def create(
        self, session: Session, drafts: Sequence[Draft], settlement: Settlement | None
    ) -> tuple[Session, list[Message]]:
        """Stores a new session with its first messages. Raises `ClaimLostError`."""

    async def get(self, session_id: str, *, even_deleted: bool = False) -> Session | None:
        """The session, or None; one whose deletion has begun is gone, or is `even_deleted`."""

    async def append(
        self,
        session: Session,
        draft: Draft,
        settlement: Settlement | None,
        *,
        only_active: bool,
    ) -> tuple[Session, Message]:
        """Stores a message behind the last one.

        Raises `SessionNotFoundError`, `SessionNotActiveError`, `SessionBusyError` and
        `ClaimLostError`.
        """

    async def change(self, session_id: str, changes: SessionChanges) -> Session:
        """Overwrites fields. Raises `SessionNotFoundError`."""

    async def hide(self, session_id: str) -> None:
        """Makes the session invisible: the beginning of its deletion, which may be repeated.

        Raises `SessionNotFoundError` when nothing is left of it.
        """

    async def delete(self, session_id: str) -> None:
        """Makes the session invisible at once, then removes its turns, its messages, its summary,
        then itself.

        Not atomic: after a crash the session is invisible, and a repetition removes the rest.
        Raises `SessionNotFoundError` when nothing is left to remove.
        """

    async def list_sessions(
        self, wanted: SessionFilter, limit: int, position: str | None
    ) -> SessionPage:
        """Sessions, newest first. Raises `InvalidCursorError` for an impossible position."""

    def messages(
        self,
        session: Session,
        *,
        after: int = 0,
        up_to: int | None = None,
        newest_first: bool = False,
        page_size: int | None = None,
    ) -> AsyncIterator[Message]:
        """The messages with sequences above `after` up to `up_to`, read page by page."""

    async def check(self) -> None:
        """Raises when the store does not answer."""


class TurnStore(Protocol):
    """Turns, their events, and the place that a turn has in its session. Every write is
    conditional, and atomic.
    """

    async def begin(
        self,
        session: Session,
        drafts: Sequence[Draft],
        turn: Turn,
        settlement: Settlement | None,
        *,
        new: bool,
    ) -> tuple[Session, list[Message]]:
        """Stores messages, the last of which is the question, and the turn that works on the
        session from now on; a `new` session with them.

        The turn's `question` is what the question's place becomes. Raises `SessionNotFoundError`,
        `SessionNotActiveError`, `SessionOccupiedError`, `SessionBusyError` and `ClaimLostError`.
        """

    async def get(self, turn_id: str) -> Turn | None:
        """The turn, or None."""

    async def retry(self, turn: Turn, again: Turn, bill: Bill | None = None) -> None:
        """Puts `again` in the place of `turn`, which nobody is at work on, with its session and
        the `bill` of an attempt that did not end.

        Raises `TurnLostError` when another did so, `SessionNotFoundError`, `SessionNotActiveError`
        and `SessionOccupiedError`.
        """

    async def add_events(self, turn: Turn, events: Sequence[Numbered]) -> None:
        """Stores events that follow each other. Written twice they are the same."""

    async def events(self, turn_id: str, after: int) -> Sequence[Numbered]:
        """The stored events behind `after`, in their order: as many as are read at once."""

    async def watch(self, turn: Turn, lease_expires_at: int | None) -> Signal:
        """What the owner of the attempt is told; with a time its lease is renewed as well."""

    async def cancel(self, turn_id: str, at: datetime) -> Turn | None:
        """Asks a running turn to stop; others stay as they are. Returns the turn, or None."""

    async def postpone(
        self, turn: Turn, later: Turn, events: Sequence[Numbered], bill: Bill
    ) -> bool:
        """Puts the queued `later` in the place of the attempt, which keeps the session, and stores
        its last `events` and what it cost. False when the attempt is asked to stop.

        Raises `TurnLostError` when it is not the attempt's own any more, and `HoldsExpiredError`.
        """

    async def conclude(self, turn: Turn, ending: Ending) -> tuple[Turn, Message | None]:
        """Ends the attempt, and lets go of the session.

        Raises `TurnLostError` when it is not the attempt's own any more, `HoldsExpiredError` when
        its bill's settlement does not hold any more, `SessionNotFoundError` and `SessionBusyError`.
        """

    async def account(self, turn: Turn, bill: Bill) -> Turn:
        """Adds the bill of an ended turn that was concluded without.

        Raises `TurnLostError` and `HoldsExpiredError`.
        """


@dataclass(frozen=True, slots=True)
class ContentFacts:
    """What is known of an object without reading it."""

    media_type: str
    size: int


class ContentStore(Protocol):
    """Content that is too large for the database: objects by their keys, in a bucket of the
    service's own. Every call raises `StoreUnavailableError`.
    """

    bucket: str

    async def put(self, key: str, media_type: str, data: bytes) -> None:
        """Stores an object; under a key that is taken it replaces the other one."""

    async def get(self, key: str) -> bytes | None:
        """The object's bytes, or None where there is no object."""

    async def head(self, key: str) -> ContentFacts | None:
        """What the object is, or None where there is no object."""

    async def delete_prefix(self, prefix: str) -> None:
        """Removes all objects whose keys begin with it; none is no error."""


class ProviderStates(Protocol):
    """Which providers the deployment can call."""

    async def active(self) -> frozenset[str]:
        """Names of those that have what they need: a key, or an address."""


class ModelProvider(Protocol):
    """A source of answers."""

    drains: bool
    """Whether an answer that is broken off costs as much as a whole one: then a cancelled one is
    read to its end, for its usage. Where not, closing the stream ends the work, and its price.
    """

    def stream(self, prompt: Prompt) -> AsyncGenerator[Said | Completion, None]:
        """Texts as they come, those that came together as one sequence, and one `Completion`.

        Raises a `ProviderError`, `ContentRefusedError` or `ContextTooLongError`, before the first
        text or after it. Ends without `Completion` only by raising. Closing it breaks it off.
        """

    async def aclose(self) -> None:
        """Ends its connections; nothing is streamed any more."""
