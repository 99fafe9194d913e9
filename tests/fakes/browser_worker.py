"""A browser function in this process: a real Chromium, with objects in memory behind its links."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from contracts.browser.worker import ArtifactLink, Egress, WorkerCommand, WorkerReply
from functions.browser_worker.adapters.chromium import Binary, Chromium
from functions.browser_worker.adapters.playwright_session import PlaywrightSession
from functions.browser_worker.adapters.playwright_steps import perform
from functions.browser_worker.domain.batches import BatchRunner
from functions.browser_worker.domain.checkpoints import Checkpoint
from functions.browser_worker.domain.egress import Site, Wall


class MemoryObjects:
    """`CheckpointStore` and `FileStore`: a link is a name."""

    def __init__(self) -> None:
        self.checkpoints: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.broken = False

    async def read(self, link: str) -> Checkpoint | None:
        found = self.checkpoints.get(link)
        return Checkpoint.model_validate_json(found) if found and not self.broken else None

    async def store(self, link: str, checkpoint: Checkpoint) -> bool:
        if not self.broken:
            self.checkpoints[link] = checkpoint.model_dump_json()
        return not self.broken

    async def put(self, link: str, content: bytes, media_type: str) -> bool:
        if not self.broken:
            self.files[link] = content
        return not self.broken


class WorkerProcess:
    """One environment of the function, with a session's record as the dispatcher keeps it."""

    def __init__(
        self, chromium: Path, objects: MemoryObjects, env_id: str, loopback: list[str]
    ) -> None:
        self.wall = Wall(time.monotonic)
        self.chromium = Chromium(Binary(chromium, sandbox=False), self.wall, os.environ)
        self.env_id = env_id

        def denied(host: str) -> int:
            return sum(times for one, times in self.wall.denials if one.host == host)

        async def open_browser() -> PlaywrightSession:
            return PlaywrightSession(await self.chromium.browser(), denied, perform)

        sites = [Site.parse(site) for site in loopback]
        self.batches = BatchRunner(env_id, open_browser, objects, objects, self.wall, sites)

    async def close(self) -> None:
        await self.chromium.close()


class SessionRecord:
    """What the dispatcher knows of a session between its commands."""

    def __init__(self, session_id: str = "s1") -> None:
        self.session_id = session_id
        self.epoch = 0
        self.live_epoch: int | None = None
        self.env_id: str | None = None
        self.checkpoint: str | None = None

    async def run(
        self,
        worker: WorkerProcess,
        *steps: dict[str, Any],
        seconds: float = 40.0,
        egress: dict[str, Any] | None = None,
        **batch: Any,
    ) -> WorkerReply:
        """A batch, with what it left behind noted."""
        self.epoch += 1
        store_to = f"{self.session_id}/{self.epoch}"
        command = WorkerCommand.model_validate(
            {
                "session_id": self.session_id,
                "epoch": self.epoch,
                "live_epoch": self.live_epoch,
                "env_id": self.env_id,
                "restore_from": self.checkpoint,
                "store_to": store_to,
                "artifacts": {
                    index: ArtifactLink(name=f"{self.epoch}-{index}", url=f"{store_to}/{index}")
                    for index in range(len(steps))
                },
                "egress": egress or Egress(),
                "seconds": seconds,
                "batch": {"steps": list(steps), **batch},
            }
        )
        # As it comes through Lambda.
        reply = await worker.batches.run(
            WorkerCommand.model_validate(command.model_dump(mode="json"))
        )
        if not reply.refused:
            self.live_epoch, self.env_id = self.epoch, reply.env_id
            if reply.checkpoint_stored:
                self.checkpoint = store_to
        return WorkerReply.model_validate_json(reply.model_dump_json())
