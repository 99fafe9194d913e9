"""What is kept of a session: enough to go on somewhere else, and honest about the rest."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

LOST_ALWAYS = ("memory of the pages", "unsent forms", "open sockets", "history of the pages")
"""What no checkpoint holds."""

MAX_BYTES = 32 * 1024 * 1024


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class KeptPage(_Kept):
    """An open page, and how far it was scrolled, in CSS pixels.

    `session_storage` has the entries by origin; `refs` are the elements of its last accessibility
    snapshot, as selectors that find them in another browser too.
    """

    page_id: str
    url: str
    scroll_x: float = 0
    scroll_y: float = 0
    session_storage: dict[str, dict[str, str]] = Field(default_factory=dict)
    refs: dict[str, str] = Field(default_factory=dict)


class Checkpoint(_Kept):
    """One session as it was after a batch.

    `storage` is Playwright's storage state: cookies, localStorage and IndexedDB.
    """

    version: Literal[1] = 1
    storage: dict[str, Any]
    pages: list[KeptPage]
    last_page_id: str | None = None
    page_number: int = 0


class CheckpointStore(Protocol):
    """Where a link leads. Neither raises: what cannot be read or stored is told by the answer."""

    async def read(self, link: str) -> Checkpoint | None:
        """The checkpoint, or None where there is none that can be read."""

    async def store(self, link: str, checkpoint: Checkpoint) -> bool:
        """Whether it was stored."""


class FileStore(Protocol):
    """Where files of steps go."""

    async def put(self, link: str, content: bytes, media_type: str) -> bool:
        """Whether it was stored."""
