"""What the domain needs from outside."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
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

    async def delete(self, session_id: str) -> None:
        """Makes the session invisible at once, then removes its messages, then itself.

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
