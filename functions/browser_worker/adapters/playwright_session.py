"""One session's pages in Chromium, by Playwright."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

from playwright.async_api import (
    Browser,
    BrowserContext,
    CDPSession,
    ConsoleMessage,
    Dialog,
    Error,
    Page,
    Route,
    StorageState,
)
from playwright.async_api import TimeoutError as TimedOutError

from contracts.browser import steps as contract
from contracts.browser.steps import AnyStep, ErrorCode
from functions.browser_worker.adapters.egress_proxy import REFUSED_HEADER
from functions.browser_worker.domain.aria import REF_PREFIX
from functions.browser_worker.domain.checkpoints import MAX_BYTES, Checkpoint, KeptPage
from functions.browser_worker.domain.driving import (
    CrashedError,
    Done,
    Noticed,
    StepFailedError,
)

VIEWPORT_WIDTH, VIEWPORT_HEIGHT = 1920, 1080
MAX_PAGES = 20

_SNAPSHOT_SECONDS = 5.0
_FRAME_SECONDS = 1.0
_RESTORE_SECONDS = 15.0
_CLOSE_SECONDS = 5.0
_GRACE_SECONDS = 1.0
_MOST_NOTICED = 20
_MAX_NOTICE = 500
_BLANK = "about:blank"
_TELL = """() => [location.origin, Object.fromEntries(Object.entries(sessionStorage)),
  scrollX, scrollY]"""
_FILL = """entries => { for (const [name, value] of Object.entries(entries))
  sessionStorage.setItem(name, value); }"""
_CRASHED = ("Target crashed", "Page crashed")
_SYNTAX = ("Unexpected token", "not a valid selector", "Unknown engine", "Malformed selector")
_NO_VALUE = ("returned by value", "reference chain")
_NAVIGATING = frozenset({"navigate", "open_page", "back", "forward", "reload"})
# What it means when a step fails, or is late, for no reason that says more.
_UNNAMED: dict[str, ErrorCode] = {
    "download": "no_download",
    "evaluate": "evaluation_failed",
    "wait": "wait_timeout",
}
_CLOSED = ("has been closed", "Target closed", "Connection closed")
_logger = logging.getLogger(__name__)


@dataclass(eq=False)
class OpenPage:
    """A page with its id; `native`: Playwright still knows the snapshot that `refs` are of."""

    page_id: str
    page: Page
    refs: dict[str, str] = field(default_factory=dict)
    native: bool = False
    crashed: bool = False
    _cdp: CDPSession | None = None

    async def cdp(self) -> CDPSession:
        """The page's own protocol."""
        if self._cdp is None:
            self._cdp = await self.page.context.new_cdp_session(self.page)
        return self._cdp

    def selector(self, text: str) -> str:
        """A caller's selector as Playwright takes it. Raises `StepFailedError`."""
        if not text.startswith(REF_PREFIX) or self.native:
            return text
        known = self.refs.get(text.removeprefix(REF_PREFIX))
        if known is None:
            raise StepFailedError("no_such_element", "No snapshot of this page has the reference.")
        return known


class PlaywrightSession:
    """`driving.SessionBrowser`. `denied` tells how often the wall refused a host so far."""

    def __init__(
        self,
        browser: Browser,
        denied: Callable[[str], int],
        perform: Callable[[PlaywrightSession, AnyStep, float], Any],
    ) -> None:
        self._browser = browser
        self._denied = denied
        self._perform = perform
        self._context: BrowserContext | None = None
        self._pages: dict[str, OpenPage] = {}
        self._number = 0
        self._last: str | None = None
        self._noticed = Noticed()
        self._accept = False
        self._answering: set[asyncio.Task[None]] = set()

    @property
    def alive(self) -> bool:
        """See `SessionBrowser`."""
        return self._browser.is_connected() and self._context is not None

    @property
    def context(self) -> BrowserContext:
        """The session's own. Raises `CrashedError` where it is gone."""
        if self._context is None:
            raise CrashedError("browser_crashed")
        return self._context

    async def restore(self, checkpoint: Checkpoint | None) -> Sequence[str]:
        """See `SessionBrowser`."""
        await self._forget()
        storage = cast("StorageState", checkpoint.storage) if checkpoint else None
        self._context = await self._browser.new_context(
            viewport={"width": VIEWPORT_WIDTH, "height": VIEWPORT_HEIGHT},
            storage_state=storage,
            accept_downloads=True,
        )
        lost: list[str] = []
        if checkpoint is not None:
            self._number = checkpoint.page_number
            restored = await asyncio.gather(*(self._reopen(page) for page in checkpoint.pages))
            lost = [one for one in restored if one]
            by_id = sorted(self._pages.items(), key=lambda item: _place(item[0]))
            self._pages = dict(by_id)
            self._last = checkpoint.last_page_id
        # Not before: until here every page is one of the checkpoint's, under its own id.
        self._context.on("page", self._opened)
        for page in self._context.pages:
            self._opened(page)
        return lost

    async def perform(self, step: AnyStep, seconds: float, *, accept_dialogs: bool) -> Done:
        """See `SessionBrowser`."""
        self._accept = accept_dialogs
        page_id = step.page_id or self._last
        try:
            async with asyncio.timeout(seconds + _GRACE_SECONDS):
                done: Done = await self._perform(self, step, seconds * 1000)
        except (TimeoutError, Error) as error:
            raise await self._judged(step, page_id, error) from error
        if done.page_id is not None and done.page_id in self._pages:
            self._last = done.page_id
        return done

    async def snapshot(self) -> Checkpoint | None:
        """See `SessionBrowser`."""
        if self._context is None:
            return None
        try:
            async with asyncio.timeout(_SNAPSHOT_SECONDS):
                storage = await self._context.storage_state(indexed_db=True)
                pages = await asyncio.gather(
                    *(_kept(one) for one in self._pages.values() if not one.crashed)
                )
        except (TimeoutError, Error):
            _logger.warning("the session's state cannot be had", exc_info=True)
            return None
        kept = Checkpoint(
            storage=dict(storage),
            pages=list(pages),
            last_page_id=self._last,
            page_number=self._number,
        )
        if len(json.dumps(kept.storage)) > MAX_BYTES:
            _logger.warning("the session's state is too large to be kept")
            return None
        return kept

    async def pages(self) -> Sequence[contract.Page]:
        """See `SessionBrowser`."""
        return await asyncio.gather(*(_told(one) for one in self._pages.values()))

    async def page(self, page_id: str) -> contract.Page | None:
        """See `SessionBrowser`."""
        found = self._pages.get(page_id)
        return await _told(found) if found is not None else None

    def noticed(self) -> Noticed:
        """See `SessionBrowser`."""
        noticed, self._noticed = self._noticed, Noticed()
        return noticed

    async def close(self) -> None:
        """See `SessionBrowser`."""
        await self._forget()

    def chosen(self, step: AnyStep) -> OpenPage:
        """The step's page, else the last one that was worked with, else the last one that was
        opened. Raises `StepFailedError`.
        """
        page_id = step.page_id
        if page_id is None:
            newest = next(reversed(self._pages), None)
            page_id = self._last if self._last in self._pages else newest
        found = self._pages.get(page_id) if page_id else None
        if found is None:
            named = page_id or "open"
            raise StepFailedError("no_such_page", f"There is no page {named} in the session.")
        return found

    async def new_page(self) -> OpenPage:
        """A page more. Raises `StepFailedError` where there are too many."""
        if len(self._pages) >= MAX_PAGES:
            raise StepFailedError("step_failed", f"{MAX_PAGES} pages are open, which is the limit.")
        page = await self.context.new_page()
        return self._adopt(page)

    def _adopt(self, page: Page, page_id: str | None = None) -> OpenPage:
        """The page under its id, once; one that a page opened comes by an event as well."""
        for known in self._pages.values():
            if known.page is page:
                return known
        if page_id is None:
            self._number += 1
            page_id = f"p{self._number}"
        opened = OpenPage(page_id, page)
        self._pages[page_id] = opened
        page.on("close", self._closed)
        page.on("crash", self._crashed)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self._note(str(error)))
        page.on("dialog", self._asked)
        return opened

    def _opened(self, page: Page) -> None:
        if len(self._pages) < MAX_PAGES:
            self._adopt(page)
        else:
            self._later(page.close())

    def _closed(self, page: Page) -> None:
        self._pages = {name: one for name, one in self._pages.items() if one.page is not page}

    def _crashed(self, page: Page) -> None:
        for one in self._pages.values():
            one.crashed = one.crashed or one.page is page

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._note(message.text)

    def _note(self, text: str) -> None:
        if len(self._noticed.console_errors) < _MOST_NOTICED:
            self._noticed.console_errors.append(text[:_MAX_NOTICE])

    def _asked(self, dialog: Dialog) -> None:
        # Who leaves a page is not held up by it.
        accepted = self._accept or dialog.type in {"alert", "beforeunload"}
        if len(self._noticed.dialogs) < _MOST_NOTICED:
            told = contract.Dialog(
                type=dialog.type, message=dialog.message[:_MAX_NOTICE], accepted=accepted
            )
            self._noticed.dialogs.append(told)
        self._later(dialog.accept() if accepted else dialog.dismiss())

    def _later(self, work: Any) -> None:
        async def done() -> None:
            with suppress(Error):
                await work

        task = asyncio.ensure_future(done())
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _reopen(self, kept: KeptPage) -> str | None:
        """One page of a checkpoint; what of it is lost."""
        page = await self.context.new_page()
        opened = self._adopt(page, kept.page_id)
        opened.refs = dict(kept.refs)
        if kept.url == _BLANK:
            return None
        try:
            async with asyncio.timeout(_RESTORE_SECONDS):
                for origin, entries in kept.session_storage.items():
                    await _fill(page, origin, entries)
                answer = await page.goto(kept.url, wait_until="load")
                if answer is not None and REFUSED_HEADER in answer.headers:
                    return f"page {kept.page_id}"
                await page.evaluate("at => scrollTo(at[0], at[1])", [kept.scroll_x, kept.scroll_y])
        except (TimeoutError, Error) as error:
            _logger.warning("a page was not restored", extra={"kind": type(error).__name__})
            return f"page {kept.page_id}"
        return None

    async def _forget(self) -> None:
        context, self._context = self._context, None
        self._pages = {}
        self._last = None
        if context is not None:
            with suppress(Error, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await context.close()

    async def _judged(
        self, step: AnyStep, page_id: str | None, error: Exception
    ) -> StepFailedError | CrashedError:
        """What an error of Playwright's means to the caller."""
        if not self._browser.is_connected():
            return CrashedError("browser_crashed")
        page = self._pages.get(page_id) if page_id else None
        text = _first_line(error)
        if (page is not None and page.crashed) or any(one in text for one in _CRASHED):
            return CrashedError("page_crashed")
        if any(one in text for one in _CLOSED):
            return StepFailedError("no_such_page", "The page was closed in the meantime.")
        if step.action in _NAVIGATING:
            return self._navigation(step, error, text)
        return await self._of_element(step, page, error, text)

    async def _of_element(
        self, step: AnyStep, page: OpenPage | None, error: Exception, text: str
    ) -> StepFailedError:
        selector = getattr(step, "selector", None)
        if "strict mode violation" in text:
            return StepFailedError("several_elements", text)
        if selector is not None and any(sign in text for sign in _SYNTAX):
            return StepFailedError("invalid_selector", text)
        if isinstance(error, (TimedOutError, TimeoutError)):
            return await self._late(step, page, selector)
        if any(sign in text for sign in _NO_VALUE):
            return StepFailedError("result_not_json", text)
        return StepFailedError(_UNNAMED.get(step.action, "step_failed"), text)

    def _navigation(self, step: AnyStep, error: Exception, text: str) -> StepFailedError:
        host = urlsplit(getattr(step, "url", None) or "").hostname or ""
        if host and self._denied(host):
            return StepFailedError("denied_address", "The egress wall refuses this address.")
        late = isinstance(error, (TimedOutError, TimeoutError))
        return StepFailedError("navigation_timeout" if late else "navigation_failed", text)

    async def _late(
        self, step: AnyStep, page: OpenPage | None, selector: str | None
    ) -> StepFailedError:
        code = _UNNAMED.get(step.action, "step_failed")
        if selector is not None and page is not None and code in {"step_failed", "no_download"}:
            with suppress(Error, TimeoutError):
                async with asyncio.timeout(_FRAME_SECONDS):
                    there = await page.page.locator(page.selector(selector)).count()
                if not there:
                    return StepFailedError("no_such_element", "No element matches the selector.")
                if code == "step_failed":
                    code = "element_not_ready"
        return StepFailedError(code, f"It was not done within {step.timeout_ms} ms.")


async def _told(opened: OpenPage) -> contract.Page:
    title = ""
    if not opened.crashed:
        with suppress(Error, TimeoutError):
            async with asyncio.timeout(_FRAME_SECONDS):
                title = await opened.page.title()
    return contract.Page(page_id=opened.page_id, url=opened.page.url, title=title[:1_000])


async def _kept(opened: OpenPage) -> KeptPage:
    """A page that does not answer is kept by its URL alone."""
    # Chromium's own page of an error is none that could be opened again.
    url = opened.page.url if opened.page.url.startswith(("http:", "https:")) else _BLANK
    kept = KeptPage(page_id=opened.page_id, url=url, refs=opened.refs)
    storage: dict[str, dict[str, str]] = {}
    at = (0.0, 0.0)
    for frame in opened.page.frames:
        with suppress(Error, TimeoutError):
            async with asyncio.timeout(_FRAME_SECONDS):
                origin, entries, x, y = await frame.evaluate(_TELL)
            if entries and origin != "null":
                storage[origin] = entries
            if frame is opened.page.main_frame:
                at = (x, y)
    return kept.model_copy(
        update={"session_storage": storage, "scroll_x": at[0], "scroll_y": at[1]}
    )


async def _fill(page: Page, origin: str, entries: dict[str, str]) -> None:
    """Puts entries into sessionStorage before a page of the origin's own sees it.

    Playwright's storage state has none of it. An empty page stands in for the origin's.
    """

    async def empty(route: Route) -> None:
        await route.fulfill(status=200, content_type="text/html", body="")

    pattern = f"{origin}/**"
    await page.route(pattern, empty)
    await page.goto(f"{origin}/")
    await page.evaluate(_FILL, entries)
    await page.unroute(pattern)


def _place(page_id: str) -> int:
    return int(page_id.removeprefix("p"))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
