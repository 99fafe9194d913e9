"""The browser as the batches see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from contracts.browser.steps import AnyStep, Dialog, ErrorCode, Page
from functions.browser_worker.domain.checkpoints import Checkpoint


class StepFailedError(Exception):
    """A step failed, for a reason that its code names; the browser goes on."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message[:1_000]


class CrashedError(Exception):
    """The page or the browser ended in the middle of a step."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code)
        self.code: ErrorCode = code


@dataclass(frozen=True, slots=True)
class File:
    """What a step made."""

    suffix: str
    media_type: str
    content: bytes
    name: str | None = None
    truncated: bool = False


@dataclass(slots=True)
class Done:
    """What came of a step. `page_id` is the page that it worked with, if that is still open."""

    page_id: str | None = None
    value: Any = None
    file: File | None = None


@dataclass(slots=True)
class Noticed:
    """What pages said meanwhile."""

    console_errors: list[str] = field(default_factory=list)
    dialogs: list[Dialog] = field(default_factory=list)


class SessionBrowser(Protocol):
    """One session's pages in a running browser.

    After a `CrashedError` only `restore` makes sense.
    """

    @property
    def alive(self) -> bool:
        """Whether the browser still has the session's pages."""

    async def restore(self, checkpoint: Checkpoint | None) -> Sequence[str]:
        """Begins anew, as the checkpoint says; what of it could not be restored."""

    async def perform(self, step: AnyStep, seconds: float, *, accept_dialogs: bool) -> Done:
        """One step. Raises `StepFailedError` and `CrashedError`; never takes much longer than
        `seconds`.
        """

    async def snapshot(self) -> Checkpoint | None:
        """What is to be kept of it now, or None where it cannot be had."""

    async def pages(self) -> Sequence[Page]:
        """Open pages in the order of their opening."""

    async def page(self, page_id: str) -> Page | None:
        """One of them, as it is now."""

    def noticed(self) -> Noticed:
        """What pages said since the last call."""

    async def close(self) -> None:
        """Ends the session's pages."""
