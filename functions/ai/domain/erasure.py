"""Removes a session with all that belongs to it."""

from __future__ import annotations

from functions.ai.domain.image_keeper import session_prefix
from functions.ai.domain.models import Session
from functions.ai.domain.ports import ContentStore, SessionStore


async def erase(session: Session, store: SessionStore, content: ContentStore) -> None:
    """Removes the images, turns and messages of a session that is invisible already, then itself.

    May be repeated, and done twice at a time. Raises `SessionNotFoundError` when nothing is left,
    and `StoreUnavailableError`.
    """
    # As long as the session itself is there, a repetition finds the way to its objects.
    await content.delete_prefix(session_prefix(session))
    await store.delete(session.session_id)
