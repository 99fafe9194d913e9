"""Steps, as Playwright does them: one function for each action."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, cast

from playwright.async_api import Locator, Response

from contracts.browser.steps import (
    AnyStep,
    AriaStep,
    ClickStep,
    ContentStep,
    CookiesStep,
    DownloadStep,
    EvaluateStep,
    FillStep,
    HistoryStep,
    NavigateStep,
    OpenPageStep,
    PdfStep,
    PointStep,
    PressStep,
    ScreenshotStep,
    ScrollStep,
    SelectStep,
    TextStep,
    TypeStep,
    UploadStep,
    WaitStep,
)
from functions.browser_worker.adapters.egress_proxy import REFUSED_HEADER
from functions.browser_worker.adapters.playwright_session import OpenPage, PlaywrightSession
from functions.browser_worker.domain.aria import selectors_of
from functions.browser_worker.domain.driving import Done, File, StepFailedError

MAX_RESULT_BYTES = 1_000_000
"""Of a value: what does not fit is no use to a caller who reads the answer."""

MAX_FILE_BYTES = 50_000_000
MAX_PICTURE_PIXELS = 16_384
"""Of either side: beyond, Chromium's pictures have no content."""

_MAX_LINKS = 2_000
_LINKS = """most => [...new Map([...document.links].map(
  a => [a.href, {url: a.href, text: a.innerText.trim().slice(0, 200)}])).values()].slice(0, most)"""
_TEXT = "() => document.body?.innerText ?? ''"
_SHOWN = """() => { const body = document.body?.cloneNode(true);
  body?.querySelectorAll('script, style, noscript, template').forEach(e => e.remove());
  return body?.innerHTML ?? ''; }"""
_SIZE = """() => [
  Math.max(document.documentElement.scrollWidth, document.body?.scrollWidth ?? 0),
  Math.max(document.documentElement.scrollHeight, document.body?.scrollHeight ?? 0)]"""


async def perform(session: PlaywrightSession, step: AnyStep, milliseconds: float) -> Done:
    """Does the step. Raises `StepFailedError`, and Playwright's errors."""
    return await _ACTIONS[step.action](session, step, milliseconds)


async def _navigate(session: PlaywrightSession, step: NavigateStep, limit: float) -> Done:
    try:
        page = session.chosen(step)
    except StepFailedError:
        if step.page_id is not None:
            raise
        page = await session.new_page()
    return await _gone_to(page, step.url, step.wait_until, limit)


async def _open_page(session: PlaywrightSession, step: OpenPageStep, limit: float) -> Done:
    page = await session.new_page()
    if step.url is None:
        return Done(page.page_id)
    return await _gone_to(page, step.url, step.wait_until, limit)


async def _gone_to(page: OpenPage, url: str, wait_until: Any, limit: float) -> Done:
    answer = await page.page.goto(url, wait_until=wait_until, timeout=limit)
    page.native = False
    page.refs = {}
    return Done(page.page_id, _answered(answer))


async def _history(session: PlaywrightSession, step: HistoryStep, limit: float) -> Done:
    page = session.chosen(step)
    move = {
        "back": page.page.go_back,
        "forward": page.page.go_forward,
        "reload": page.page.reload,
    }[step.action]
    answer = await move(wait_until=step.wait_until, timeout=limit)
    return Done(page.page_id, _answered(answer))


def _answered(answer: Response | None) -> dict[str, Any] | None:
    if answer is None:
        return None
    if REFUSED_HEADER in answer.headers:
        raise StepFailedError("denied_address", "The egress wall refuses this address.")
    return {"status": answer.status}


async def _close_page(session: PlaywrightSession, step: AnyStep, _limit: float) -> Done:
    await session.chosen(step).page.close()
    return Done()


def _element(page: OpenPage, selector: str) -> Locator:
    return page.page.locator(page.selector(selector))


async def _point(session: PlaywrightSession, step: PointStep, limit: float) -> Done:
    page = session.chosen(step)
    element = _element(page, step.selector)
    act = {"check": element.check, "uncheck": element.uncheck, "hover": element.hover}
    await act[step.action](timeout=limit)
    return Done(page.page_id)


async def _click(session: PlaywrightSession, step: ClickStep, limit: float) -> Done:
    page = session.chosen(step)
    await _element(page, step.selector).click(
        button=step.button, click_count=step.click_count, timeout=limit
    )
    return Done(page.page_id)


async def _type(session: PlaywrightSession, step: TypeStep, limit: float) -> Done:
    page = session.chosen(step)
    element = _element(page, step.selector)
    await element.press_sequentially(step.text, delay=step.delay_ms, timeout=limit)
    return Done(page.page_id)


async def _fill(session: PlaywrightSession, step: FillStep, limit: float) -> Done:
    page = session.chosen(step)
    await _element(page, step.selector).fill(step.text, timeout=limit)
    return Done(page.page_id)


async def _press(session: PlaywrightSession, step: PressStep, limit: float) -> Done:
    page = session.chosen(step)
    if step.selector is None:
        await page.page.keyboard.press(step.key)
    else:
        await _element(page, step.selector).press(step.key, timeout=limit)
    return Done(page.page_id)


async def _select(session: PlaywrightSession, step: SelectStep, limit: float) -> Done:
    page = session.chosen(step)
    chosen = await _element(page, step.selector).select_option(step.values, timeout=limit)
    return Done(page.page_id, chosen)


async def _scroll(session: PlaywrightSession, step: ScrollStep, limit: float) -> Done:
    page = session.chosen(step)
    if step.selector is not None:
        await _element(page, step.selector).scroll_into_view_if_needed(timeout=limit)
    await page.page.evaluate("by => scrollBy(by[0], by[1])", [step.x, step.y])
    return Done(page.page_id)


async def _wait(session: PlaywrightSession, step: WaitStep, limit: float) -> Done:
    page = session.chosen(step)
    if step.url_pattern is not None:
        await page.page.wait_for_url(step.url_pattern, timeout=limit)
    if step.load_state is not None:
        await page.page.wait_for_load_state(step.load_state, timeout=limit)
    if step.selector is not None:
        await _element(page, step.selector).first.wait_for(state=step.state, timeout=limit)
    return Done(page.page_id)


async def _evaluate(session: PlaywrightSession, step: EvaluateStep, limit: float) -> Done:
    page = session.chosen(step)
    cdp = await page.cdp()

    async def evaluated(expression: str) -> dict[str, Any]:
        # The protocol's own time limit ends a loop that never ends, which no other call does.
        answer = await cdp.send(
            "Runtime.evaluate",
            {
                "expression": expression,
                "awaitPromise": step.await_promise,
                "returnByValue": True,
                "userGesture": True,
                "timeout": limit,
            },
        )
        if "exceptionDetails" in answer:
            raise StepFailedError("evaluation_failed", _exception(answer["exceptionDetails"]))
        return cast("dict[str, Any]", answer["result"])

    result = await evaluated(step.expression)
    if result.get("type") == "function":
        result = await evaluated(f"({step.expression})()")
    return Done(page.page_id, {"result": _json(result)})


def _exception(details: dict[str, Any]) -> str:
    thrown = details.get("exception", {})
    text = str(thrown.get("description") or thrown.get("value") or details.get("text", ""))
    return text.partition("\n")[0]


def _json(result: dict[str, Any]) -> Any:
    """The value of a protocol's result. Raises `StepFailedError` where JSON has none."""
    if "unserializableValue" in result or result.get("type") in {"function", "symbol"}:
        raise StepFailedError("result_not_json", "The result is no value of JSON.")
    value = result.get("value")
    _require_small(value)
    return value


def _require_small(value: Any) -> None:
    if len(json.dumps(value, ensure_ascii=False).encode()) > MAX_RESULT_BYTES:
        raise StepFailedError("result_too_large", f"It has more than {MAX_RESULT_BYTES} bytes.")


async def _screenshot(session: PlaywrightSession, step: ScreenshotStep, limit: float) -> Done:
    page = session.chosen(step)
    quality = step.quality if step.format == "jpeg" else None
    truncated = False
    if step.selector is not None:
        content = await _element(page, step.selector).screenshot(
            type=step.format, quality=quality, timeout=limit
        )
    elif step.full_page:
        width, height = await page.page.evaluate(_SIZE)
        truncated = max(width, height) > MAX_PICTURE_PIXELS
        clip = {
            "x": 0,
            "y": 0,
            "width": min(width, MAX_PICTURE_PIXELS),
            "height": min(height, MAX_PICTURE_PIXELS),
        }
        content = await page.page.screenshot(
            type=step.format,
            quality=quality,
            full_page=True,
            clip=cast("Any", clip) if truncated else None,
            timeout=limit,
        )
    else:
        content = await page.page.screenshot(type=step.format, quality=quality, timeout=limit)
    file = File(f".{step.format}", f"image/{step.format}", content, truncated=truncated)
    return Done(page.page_id, file=file)


async def _pdf(session: PlaywrightSession, step: PdfStep, _limit: float) -> Done:
    page = session.chosen(step)
    content = await page.page.pdf(
        format=step.format, landscape=step.landscape, print_background=step.print_background
    )
    return Done(page.page_id, file=File(".pdf", "application/pdf", content))


async def _content(session: PlaywrightSession, step: ContentStep, _limit: float) -> Done:
    page = session.chosen(step)
    if step.format == "html":
        text = await page.page.content()
    else:
        text = await page.page.evaluate(_TEXT if step.format == "text" else _SHOWN)
    _require_small(text)
    if step.format == "markdown":
        from markdownify import markdownify  # noqa: PLC0415

        text = markdownify(text, heading_style="ATX").strip()
    return Done(page.page_id, {"content": text, "format": step.format})


async def _text(session: PlaywrightSession, step: TextStep, limit: float) -> Done:
    page = session.chosen(step)
    text = await _element(page, step.selector).inner_text(timeout=limit)
    _require_small(text)
    return Done(page.page_id, {"text": text})


async def _aria(session: PlaywrightSession, step: AriaStep, limit: float) -> Done:
    page = session.chosen(step)
    snapshot = await page.page.locator("body").aria_snapshot(mode="ai", timeout=limit)
    page.refs = selectors_of(snapshot)
    page.native = True
    kept = snapshot[: step.max_characters]
    if len(kept) < len(snapshot):
        # Whole lines alone.
        kept = kept[: kept.rfind("\n") + 1]
    return Done(page.page_id, {"snapshot": kept, "truncated": len(kept) < len(snapshot)})


async def _links(session: PlaywrightSession, step: AnyStep, _limit: float) -> Done:
    page = session.chosen(step)
    links = await page.page.evaluate(_LINKS, _MAX_LINKS)
    _require_small(links)
    return Done(page.page_id, {"links": links})


async def _upload(session: PlaywrightSession, step: UploadStep, limit: float) -> Done:
    page = session.chosen(step)
    files: list[Any] = [
        {"name": one.name, "mimeType": one.media_type, "buffer": one.content} for one in step.files
    ]
    await _element(page, step.selector).set_input_files(files, timeout=limit)
    return Done(page.page_id)


async def _download(session: PlaywrightSession, step: DownloadStep, limit: float) -> Done:
    page = session.chosen(step)
    async with page.page.expect_download(timeout=limit) as waiting:
        await _element(page, step.selector).click(timeout=limit)
    download = await waiting.value
    failure = await download.failure()
    if failure:
        raise StepFailedError("no_download", failure)
    content = await asyncio.to_thread(_read, Path(await download.path()))
    name = download.suggested_filename
    await download.delete()
    return Done(page.page_id, file=File("", "application/octet-stream", content, name))


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise StepFailedError("result_too_large", f"It has more than {MAX_FILE_BYTES} bytes.")
    return path.read_bytes()


async def _cookies(session: PlaywrightSession, step: CookiesStep, _limit: float) -> Done:
    context = session.context
    if step.clear:
        await context.clear_cookies()
    if step.set:
        await context.add_cookies(
            [
                cast(
                    "Any",
                    {
                        "name": one.name,
                        "value": one.value,
                        "domain": one.domain,
                        "path": one.path,
                        "expires": -1 if one.expires is None else one.expires,
                        "httpOnly": one.http_only,
                        "secure": one.secure,
                        "sameSite": one.same_site,
                    },
                )
                for one in step.set
            ]
        )
    found = [
        {
            "name": one.get("name"),
            "value": one.get("value"),
            "domain": one.get("domain"),
            "path": one.get("path"),
            "expires": one.get("expires") if one.get("expires", -1) != -1 else None,
            "http_only": one.get("httpOnly"),
            "secure": one.get("secure"),
            "same_site": one.get("sameSite"),
        }
        for one in await context.cookies()
    ]
    return Done(value={"cookies": found})


_Action = Callable[[PlaywrightSession, Any, float], Awaitable[Done]]
_ACTIONS: Final[dict[str, _Action]] = {
    "navigate": _navigate,
    "open_page": _open_page,
    "back": _history,
    "forward": _history,
    "reload": _history,
    "close_page": _close_page,
    "check": _point,
    "uncheck": _point,
    "hover": _point,
    "click": _click,
    "type": _type,
    "fill": _fill,
    "press": _press,
    "select": _select,
    "scroll": _scroll,
    "wait": _wait,
    "evaluate": _evaluate,
    "screenshot": _screenshot,
    "pdf": _pdf,
    "content": _content,
    "text": _text,
    "aria": _aria,
    "links": _links,
    "upload": _upload,
    "download": _download,
    "cookies": _cookies,
}
