"""Chromium, started so that nothing of it gets past the egress wall.

Flags: https://peter.sh/experiments/chromium-command-line-switches/. Lambda has neither a zygote's
namespaces nor a GPU: `--no-zygote` and `--in-process-gpu` do without, and unlike `--single-process`
leave each page a process of its own, so that one that crashes takes no other along.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import playwright
from playwright.async_api import Browser, Error, Playwright, async_playwright

from functions.browser_worker.adapters.egress_proxy import EgressProxy
from functions.browser_worker.domain.egress import Wall

LAUNCH_SECONDS = 20.0

FLAGS = (
    "--disable-quic",
    # UDP would go round the proxy; both names are read, by different builds.
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    # The proxy resolves. What Chromium would look up by itself, prefetching, it does not find.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--dns-prefetch-disable",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-pings",
    "--metrics-recording-only",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-gpu-sandbox",
    "--in-process-gpu",
    "--disable-breakpad",
    "--mute-audio",
    "--hide-scrollbars",
)

PASSED = ("HOME", "LANG", "PATH", "TMPDIR", "TZ", "FONTCONFIG_FILE", "FONTCONFIG_PATH")
"""Of the environment, what Chromium needs, and nothing that it could tell."""

# The zygote's sandbox is there or Chromium's is not.
_WITHOUT_SANDBOX = ("--no-zygote",)
_NODE = Path(playwright.__file__).parent / "driver" / "node"
_logger = logging.getLogger(__name__)


class ChromiumUnavailableError(Exception):
    """Chromium does not start."""


@dataclass(frozen=True, slots=True)
class Binary:
    """Which Chromium, and whether its own sandbox is on: off, one session an environment has to be
    the boundary.
    """

    path: Path
    sandbox: bool


class Chromium:
    """One browser at a time, behind one wall; started when it is needed."""

    def __init__(self, binary: Binary, wall: Wall, environment: Mapping[str, str]) -> None:
        self._binary = binary
        self._proxy = EgressProxy(wall)
        self._environment = {name: environment[name] for name in PASSED if environment.get(name)}
        self._proxy_port = 0
        self._driver: Playwright | None = None
        self._browser: Browser | None = None
        self.launches = 0

    async def prepare(self) -> Playwright:
        """Starts the wall and Playwright's driver, which takes longer than Chromium itself."""
        if self._driver is None:
            self._proxy_port = await self._proxy.start()
            _make_runnable(_NODE)
            self._driver = await async_playwright().start()
        return self._driver

    async def browser(self) -> Browser:
        """The browser, running. Raises `ChromiumUnavailableError`."""
        if self._browser is not None and self._browser.is_connected():
            return self._browser
        driver = await self.prepare()
        began = time.monotonic()
        try:
            self._browser = await driver.chromium.launch(
                executable_path=self._binary.path,
                args=[*FLAGS, *(() if self._binary.sandbox else _WITHOUT_SANDBOX)],
                # Loopback too goes through it, by Playwright: Chromium's default is otherwise.
                proxy={"server": f"http://127.0.0.1:{self._proxy_port}"},
                env=dict(self._environment),
                chromium_sandbox=self._binary.sandbox,
                timeout=LAUNCH_SECONDS * 1000,
                handle_sigint=False,
                handle_sigterm=False,
                handle_sighup=False,
            )
        except Error as error:
            raise ChromiumUnavailableError(str(error).partition("\n")[0]) from error
        self.launches += 1
        milliseconds = round((time.monotonic() - began) * 1000)
        _logger.info("Chromium started", extra={"milliseconds": milliseconds})
        return self._browser

    async def close(self) -> None:
        """Ends the browser, the driver and the wall."""
        if self._browser is not None:
            await self._browser.close()
            self._browser = None
        if self._driver is not None:
            await self._driver.stop()
            self._driver = None
            await self._proxy.close()


def _make_runnable(program: Path) -> None:
    """What unpacked the package may have dropped its modes, as MiniStack does with layers."""
    if program.is_file() and not os.access(program, os.X_OK):
        program.chmod(0o755)
