"""The browser's function, put together."""

from __future__ import annotations

import time
from pathlib import Path

from functions.browser_worker.adapters import leftovers
from functions.browser_worker.adapters.chromium import PASSED, Binary, Chromium
from functions.browser_worker.adapters.links import LinkedObjects
from functions.browser_worker.adapters.playwright_session import PlaywrightSession
from functions.browser_worker.adapters.playwright_steps import perform
from functions.browser_worker.domain.batches import BatchRunner
from functions.browser_worker.domain.driving import SessionBrowser
from functions.browser_worker.domain.egress import Site, Wall, normal
from functions.browser_worker.settings import WorkerSettings
from servicekit.ids import new_ulid
from servicekit.logging import configure_logging
from servicekit.process_environment import forget


class Worker:
    """One process's browser, and whoever runs batches in it."""

    def __init__(self, chromium: Chromium, batches: BatchRunner) -> None:
        self.chromium = chromium
        self.batches = batches


def worker_from_environment() -> Worker:
    """Forgets the environment once it is read. Raises `SettingsError`."""
    settings = WorkerSettings.from_environment()
    configure_logging(settings.powertools_service_name, settings.powertools_log_level)
    if settings.environment != "local":
        # There the process has a machine to itself.
        leftovers.sweep()
    wall = Wall(time.monotonic)
    binary = Binary(Path(settings.chromium_path), settings.chromium_sandbox)
    chromium = Chromium(binary, wall, forget(PASSED))

    def denied(host: str) -> int:
        return sum(times for one, times in wall.denials if one.host == normal(host))

    async def open_browser() -> SessionBrowser:
        return PlaywrightSession(await chromium.browser(), denied, perform)

    objects = LinkedObjects()
    loopback = [Site.parse(site) for site in settings.loopback]
    batches = BatchRunner(new_ulid(), open_browser, objects, objects, wall, loopback)
    return Worker(chromium, batches)
