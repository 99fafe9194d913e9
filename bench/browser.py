"""The browser's function: how soon it shows a page, goes on, and heals, beside plain Playwright.

A process of the function in this machine, over a small site on loopback, with objects in memory.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.async_api import async_playwright

from bench.figure import Figure
from localcloud.chromium import REMEDY, find
from tests.fakes.browser_site import BrowserSite
from tests.fakes.browser_worker import MemoryObjects, SessionRecord, WorkerProcess
from tests.fakes.hostile_page import VECTORS, HostileSite, InternalServer
from tests.fakes.processes import kill_children

ROOT = Path(__file__).resolve().parent.parent

_STARTS = 5
_ROUNDS = 15
_SETTLE_SECONDS = 2.0

_FIRST_SHOT = """
import asyncio, sys
from pathlib import Path
from tests.fakes.browser_worker import MemoryObjects, SessionRecord, WorkerProcess

async def main(chromium, site):
    worker = WorkerProcess(Path(chromium), MemoryObjects(), "env", [site])
    steps = [{"action": "navigate", "url": f"http://{site}/"}, {"action": "screenshot"}]
    reply = await SessionRecord().run(worker, *steps)
    assert [one.outcome for one in reply.result.results] == ["done", "done"], reply
    print("shown", flush=True)
    await worker.close()

asyncio.run(main(*sys.argv[1:]))
"""


def measure() -> Iterator[Figure]:
    """Medians, but for the egress matrix. Raises `SystemExit` where there is no Chromium."""
    chromium = find()
    if chromium is None:
        raise SystemExit(f"no Chromium: {REMEDY}")
    with BrowserSite() as site:
        start = statistics.median(_first_shot(chromium, site) for _ in range(_STARTS))
        yield Figure("browser: process start to first screenshot", start, "s", 1.5)
        found = asyncio.run(_going_on(chromium, site))
        yield Figure("browser: warm batch, goto and screenshot", found["warm"], "ms", 300)
        yield Figure("browser: the same, plain Playwright launching", found["plain"], "ms")
        yield Figure("browser: rehydration, before its first step", found["rehydrated"], "s", 1)
        yield Figure("browser: heal after SIGKILL, step included", found["healed"], "s", 2)
    reached = asyncio.run(_reached(chromium))
    yield Figure(
        f"browser: ways of {len(VECTORS)} that reached a forbidden address", reached, "", 0
    )


def _first_shot(chromium: Path, site: BrowserSite) -> float:
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", _FIRST_SHOT, str(chromium), site.host],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "shown\n"
        return time.monotonic() - began


async def _going_on(chromium: Path, site: BrowserSite) -> dict[str, float]:
    objects = MemoryObjects()
    worker = WorkerProcess(chromium, objects, "env-1", [site.host])
    other = WorkerProcess(chromium, objects, "env-2", [site.host])
    shot: list[dict[str, Any]] = [
        {"action": "navigate", "url": f"{site.url}/form"},
        {"action": "screenshot"},
    ]
    session = SessionRecord()
    await session.run(worker, *shot)
    warm = [await _timed(session.run(worker, *shot)) for _ in range(_ROUNDS)]
    plain = [await _timed(_plain(chromium, site)) for _ in range(_STARTS)]
    # Its own browser runs already: what is measured is the session's return.
    await SessionRecord("s2").run(other, {"action": "open_page"})
    rehydrated = []
    for number in range(_STARTS):
        here = other if number % 2 == 0 else worker
        rehydrated.append(await _timed(session.run(here, {"action": "open_page"})))
    healed = []
    for _ in range(_STARTS):
        await session.run(worker, *shot)
        kill_children("chromium")
        healed.append(await _timed(session.run(worker, {"action": "screenshot"})))
    await worker.close()
    await other.close()
    return {
        "warm": statistics.median(warm) * 1000,
        "plain": statistics.median(plain) * 1000,
        "rehydrated": statistics.median(rehydrated),
        "healed": statistics.median(healed),
    }


async def _plain(chromium: Path, site: BrowserSite) -> None:
    """What a service does that launches a browser for each request, its driver running."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page()
        await page.goto(f"{site.url}/form")
        await page.screenshot()
        await browser.close()


async def _timed(work: Any) -> float:
    began = time.monotonic()
    await work
    return time.monotonic() - began


async def _reached(chromium: Path) -> int:
    with InternalServer() as internal, HostileSite(internal) as site:
        worker = WorkerProcess(chromium, MemoryObjects(), "env", [f"127.0.0.1:{site.port}"])
        attack = {"action": "navigate", "url": site.url}
        leave = {"action": "navigate", "url": f"{internal.url}/navigation"}
        wait = {
            "action": "evaluate",
            "expression": f"new Promise(r => setTimeout(r, {_SETTLE_SECONDS * 1000}))",
        }
        await SessionRecord().run(worker, attack, wait, leave, on_error="continue")
        await worker.close()
        return len(internal.reached & set(VECTORS))
