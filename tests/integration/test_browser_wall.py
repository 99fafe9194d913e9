"""A hostile page in a real Chromium, with the egress wall and without."""

import asyncio
import os
import time
from contextlib import suppress

import pytest
from playwright.async_api import Error, async_playwright

from functions.browser_worker.adapters.chromium import Binary, Chromium
from functions.browser_worker.domain.egress import Policy, Site, Wall
from tests.fakes.hostile_page import VECTORS, HostileSite, InternalServer

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 20.0


@pytest.fixture
def internal():
    with InternalServer() as server:
        yield server


@pytest.fixture
def site(internal):
    with HostileSite(internal) as server:
        yield server


async def attacked(page, internal, address: str) -> None:
    """The page has tried everything, and so has whoever navigates."""
    await page.goto(address)
    await page.wait_for_function("document.title === 'attacked'")
    # Chromium may take the answer of the wall for none.
    with suppress(Error):
        await page.goto(f"{internal.url}/navigation", wait_until="commit")


async def until(check) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not check():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_a_hostile_page_reaches_nothing(chromium_path, internal, site):
    wall = Wall(time.monotonic)
    chromium = Chromium(Binary(chromium_path, sandbox=False), wall, os.environ)
    try:
        wall.begin(Policy(loopback=(Site.parse(f"127.0.0.1:{site.port}"),)))
        page = await (await chromium.browser()).new_page()
        await attacked(page, internal, site.url)
        # Twelve ways of the page beside UDP, and the navigation: each was refused by the wall.
        await until(lambda: sum(times for _, times in wall.denials) >= len(VECTORS) - 1)
        # What would still be under way by now would have been seen in the test below.
        await asyncio.sleep(1)
        assert internal.reached == set()
        assert {denial.port for denial, _ in wall.denials} == {internal.port}
    finally:
        await chromium.close()


async def test_without_the_wall_it_reaches_everything(chromium_path, internal, site):
    """Otherwise the test above would prove nothing."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium_path, args=["--no-sandbox"])
        page = await browser.new_page()
        await attacked(page, internal, site.url)
        await until(lambda: set(VECTORS) <= internal.reached)
        await browser.close()


@pytest.mark.parametrize(
    "host", ["localhost", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
async def test_no_spelling_of_this_machine_helps(chromium_path, internal, host):
    wall = Wall(time.monotonic)
    chromium = Chromium(Binary(chromium_path, sandbox=False), wall, os.environ)
    try:
        # The project's list names it, which opens nothing.
        wall.begin(
            Policy(listed=[Site.parse(f"{h}:{internal.port}") for h in ("127.0.0.1", "localhost")])
        )
        page = await (await chromium.browser()).new_page()
        answer = await page.goto(f"http://{host}:{internal.port}/navigation")
        assert answer is not None
        assert answer.status == 403
        assert internal.reached == set()
        assert wall.denials
    finally:
        await chromium.close()
