"""Files that steps of a session made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from functions.browser.domain.sessions import Caller, Sessions


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as it lies in the bucket; `size` is in bytes."""

    name: str
    size: int
    stored_at: datetime


class Files(Protocol):
    """Where files lie. Raises `StoreUnavailableError`."""

    async def files(self, session_id: str, after: str, limit: int) -> list[StoredFile]:
        """Those behind the name `after`, by name: by the order of their commands and steps."""

    async def file_reading(self, session_id: str, name: str) -> str:
        """A link that reads it, for an hour at most."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file and a link that reads it."""

    file: StoredFile
    url: str


class Artifacts:
    """Lists files, each with a new link."""

    def __init__(self, sessions: Sessions, files: Files) -> None:
        self._sessions = sessions
        self._files = files

    async def page(
        self, caller: Caller, session_id: str, after: str, limit: int
    ) -> tuple[Sequence[ListedFile], bool]:
        """A page of them, and whether there are more. Raises `SessionNotFoundError`."""
        await self._sessions.find(caller, session_id)
        found = await self._files.files(session_id, after, limit + 1)
        listed = [
            ListedFile(one, await self._files.file_reading(session_id, one.name))
            for one in found[:limit]
        ]
        return listed, len(found) > limit
