"""Twenty browser sessions at once, four commands in flight, in a local cloud of the bench's own.

Each session logs in as somebody, and is asked who it is when the others have been.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Any

from bench.figure import Figure
from bench.local_cloud import local_cloud
from contracts.browser.client import BrowserPoolClient
from contracts.client.errors import ServiceError
from tests.fakes.browser_site import BrowserSite

_SESSIONS = 20
_IN_FLIGHT = 4


def measure() -> Iterator[Figure]:
    """Errors, mixed up sessions, and how long it took."""
    with BrowserSite() as site, local_cloud(LOCAL_BROWSER_SITES=site.host) as cloud:
        began = time.monotonic()
        wrong, live = asyncio.run(_all(cloud.browser, site.url))
        seconds = time.monotonic() - began
    at_once = f"browser: {_SESSIONS} sessions at once, {_IN_FLIGHT} in flight"
    yield Figure(f"{at_once}: errors or mixed up", wrong, "", 0)
    yield Figure(f"{at_once}: found their browser live", live, "")
    yield Figure(f"{at_once}: everything", seconds, "s")


async def _all(door: str, site: str) -> tuple[int, int]:
    """How many calls failed or told of somebody else, and how many sessions were live."""
    turn = asyncio.Semaphore(_IN_FLIGHT)
    wrong, live = 0, 0
    async with BrowserPoolClient(door, timeout=60) as pool:
        sessions = [(await pool.create_session()).session_id for _ in range(_SESSIONS)]

        async def one(number: int, *steps: Mapping[str, Any]) -> str | None:
            nonlocal wrong, live
            async with turn:
                try:
                    result = await pool.run(sessions[number], list(steps))
                except ServiceError:
                    wrong += 1
                    return None
            live += result.continuity == "live"
            last = result.results[-1]
            return str(last.value) if last.outcome == "done" else None

        visit = {"action": "navigate", "url": f"{site}/me"}
        await asyncio.gather(
            *(
                one(number, visit, {"action": "evaluate", "expression": f"{_cookie(number)}"})
                for number in range(_SESSIONS)
            )
        )
        live = 0
        told = await asyncio.gather(
            *(
                one(number, {"action": "reload"}, {"action": "text", "selector": "#who"})
                for number in range(_SESSIONS)
            )
        )
        wrong += sum(text != str({"text": f"u{number}"}) for number, text in enumerate(told))
        for session_id in sessions:
            await pool.delete_session(session_id)
    return wrong, live


def _cookie(number: int) -> str:
    return f"document.cookie = 'user=u{number}'"
