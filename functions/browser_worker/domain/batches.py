"""Batches: the session's browser found or rebuilt, its steps done in order, crashes healed."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from contracts.browser.steps import (
    AnyStep,
    Artifact,
    BatchResult,
    Continuity,
    DeniedAddress,
    StepError,
    StepResult,
)
from contracts.browser.worker import WorkerCommand, WorkerReply
from functions.browser_worker.domain.checkpoints import (
    LOST_ALWAYS,
    Checkpoint,
    CheckpointStore,
    FileStore,
)
from functions.browser_worker.domain.driving import (
    CrashedError,
    Done,
    File,
    SessionBrowser,
    StepFailedError,
)
from functions.browser_worker.domain.egress import Policy, Site, Wall

REPEATABLE: Final = frozenset(
    {
        "aria",
        "content",
        "links",
        "navigate",
        "open_page",
        "pdf",
        "reload",
        "screenshot",
        "scroll",
        "text",
        "wait",
    }
)
"""Steps that may be done twice: of others nobody knows what they did before a crash."""

READING: Final = frozenset({"aria", "content", "links", "pdf", "screenshot", "text"})
"""Steps that change nothing that is kept."""

MAX_INLINE_BYTES = 3 * 1024 * 1024
"""Of all files in an answer: base64 makes a third more of it, and Lambda takes 6 MB
(https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
"""

CHECKPOINT_SECONDS = 3.0
"""What is kept back of the batch's time."""

_MOST_HEALS = 2
_MAX_URL = 8_192
_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Remembered:
    """Whose browser this is, and after which of its commands."""

    session_id: str
    epoch: int
    browser: SessionBrowser
    kept: Checkpoint | None


class BatchRunner:
    """Runs commands one at a time. One session's browser is kept from each to the next."""

    def __init__(
        self,
        env_id: str,
        open_browser: Callable[[], Awaitable[SessionBrowser]],
        checkpoints: CheckpointStore,
        files: FileStore,
        wall: Wall,
        loopback: Sequence[Site],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._env_id = env_id
        self._open = open_browser
        self._checkpoints = checkpoints
        self._files = files
        self._wall = wall
        self._loopback = loopback
        self._timer = timer
        self._remembered: _Remembered | None = None

    async def run(self, command: WorkerCommand) -> WorkerReply:
        """The whole batch; whatever goes wrong in it is in the answer.

        Raises `ChromiumUnavailableError` where no browser starts.
        """
        deadline = self._timer() + command.seconds - CHECKPOINT_SECONDS
        live = self._live(command)
        if command.batch.require == "live" and live is None and command.live_epoch is not None:
            return self._refused(command)
        self._wall.begin(
            Policy(
                listed=[Site.parse(site) for site in command.egress.sites],
                strict=command.egress.strict,
                loopback=self._loopback,
            )
        )
        try:
            if live is not None:
                run = _Run(self, command, live.browser, deadline)
                run.kept = live.kept
            else:
                run = await self._begun(command, deadline)
            self._remembered = None
            try:
                await run.steps()
                return await self._reply(run)
            finally:
                if self._remembered is None:
                    # Nobody foresaw what happened: no later batch would find these pages.
                    await run.browser.close()
        finally:
            self._wall.end()

    def _live(self, command: WorkerCommand) -> _Remembered | None:
        mine = self._remembered
        if (
            mine is not None
            and mine.session_id == command.session_id
            and mine.epoch == command.live_epoch
            and command.env_id == self._env_id
            and mine.browser.alive
        ):
            return mine
        return None

    def _refused(self, command: WorkerCommand) -> WorkerReply:
        result = BatchResult(
            session_id=command.session_id,
            continuity="lost" if command.restore_from is None else "rehydrated",
            lost=list(LOST_ALWAYS),
            results=[],
            pages=[],
            denied=[],
        )
        return WorkerReply(
            env_id=self._env_id, refused=True, checkpoint_stored=False, result=result
        )

    async def _begun(self, command: WorkerCommand, deadline: float) -> _Run:
        """With a browser that is new to the session."""
        if self._remembered is not None:
            # Another session's, or a state of this one's that is no longer true.
            browser, self._remembered = self._remembered.browser, None
            await browser.close()
        browser = await self._open()
        checkpoint = None
        if command.restore_from is not None:
            checkpoint = await self._checkpoints.read(command.restore_from)
        run = _Run(self, command, browser, deadline)
        run.kept = checkpoint
        run.lost = list(await browser.restore(checkpoint))
        if command.live_epoch is not None:
            run.continuity = "rehydrated" if checkpoint is not None else "lost"
            run.lost = [*LOST_ALWAYS, *run.lost]
        return run

    async def _reply(self, run: _Run) -> WorkerReply:
        command = run.command
        kept = await run.browser.snapshot() if run.browser.alive else None
        stored = kept is not None and await self._checkpoints.store(command.store_to, kept)
        if run.browser.alive:
            self._remembered = _Remembered(command.session_id, command.epoch, run.browser, kept)
        result = BatchResult(
            session_id=command.session_id,
            continuity=run.continuity,
            lost=run.lost,
            results=run.results,
            pages=list(await run.browser.pages()) if run.browser.alive else [],
            denied=[
                DeniedAddress(host=one.host, port=one.port, rule=one.rule, times=times)
                for one, times in self._wall.denials
            ],
        )
        return WorkerReply(
            env_id=self._env_id,
            refused=False,
            checkpoint_stored=stored,
            heals=run.heals,
            result=result,
        )

    async def reopened(self) -> SessionBrowser:
        """Another browser for one that crashed."""
        return await self._open()

    async def keep(self, link: str, content: bytes, media_type: str) -> bool:
        """Stores a step's file."""
        return await self._files.put(link, content, media_type)

    @property
    def timer(self) -> Callable[[], float]:
        """The clock of deadlines."""
        return self._timer


class _Run:
    """One batch under way. `kept` is what a crash would be healed with."""

    def __init__(
        self, runner: BatchRunner, command: WorkerCommand, browser: SessionBrowser, deadline: float
    ) -> None:
        self._runner = runner
        self._deadline = deadline
        self._inline_left = MAX_INLINE_BYTES
        self.command = command
        self.browser = browser
        self.continuity: Continuity = "live"
        self.lost: list[str] = []
        self.results: list[StepResult] = []
        self.kept: Checkpoint | None = None
        self.heals = 0

    async def steps(self) -> None:
        """All of them, or until one fails."""
        batch = self.command.batch
        over = False
        for index, step in enumerate(batch.steps):
            if over:
                skipped = StepResult(index=index, action=step.action, outcome="skipped")
                self.results.append(skipped)
                continue
            result = await self._step(index, step)
            self.results.append(result)
            over = result.outcome != "done" and (batch.on_error == "stop" or not self.browser.alive)

    async def _step(self, index: int, step: AnyStep) -> StepResult:
        began = self._runner.timer()
        result = StepResult(index=index, action=step.action, outcome="done")
        try:
            done, retried = await self._done(step)
        except StepFailedError as error:
            failure = StepError(code=error.code, message=error.message)
            result = result.model_copy(update={"outcome": "failed", "error": failure})
        except CrashedError as error:
            failure = StepError(code=error.code, message="It crashed in the middle of the step.")
            outcome = "failed" if step.action in REPEATABLE else "unknown"
            result = result.model_copy(update={"outcome": outcome, "error": failure})
        else:
            result = await self._told(result, step, done)
            result = result.model_copy(update={"retried": retried})
        noticed = self.browser.noticed()
        milliseconds = round((self._runner.timer() - began) * 1000)
        return result.model_copy(
            update={
                "duration_ms": milliseconds,
                "console_errors": noticed.console_errors,
                "dialogs": noticed.dialogs,
            }
        )

    async def _done(self, step: AnyStep) -> tuple[Done, bool]:
        """The step, done again after a crash if that is safe; whether it was."""
        try:
            return await self._perform(step), False
        except CrashedError as error:
            await self._heal(error)
            if step.action not in REPEATABLE:
                raise
        try:
            return await self._perform(step), True
        except CrashedError as error:
            await self._heal(error)
            raise

    async def _perform(self, step: AnyStep) -> Done:
        left = self._deadline - self._runner.timer()
        if left <= 0:
            raise StepFailedError("out_of_time", "The batch's time was over before the step.")
        seconds = min(left, step.timeout_ms / 1000)
        accept = self.command.batch.dialogs == "accept"
        done = await self.browser.perform(step, seconds, accept_dialogs=accept)
        if step.action not in READING:
            self.kept = await self.browser.snapshot() or self.kept
        return done

    async def _heal(self, crash: CrashedError) -> None:
        if self.heals == _MOST_HEALS:
            raise crash
        self.heals += 1
        _logger.warning("healing a crash", extra={"code": crash.code})
        if not self.browser.alive:
            await self.browser.close()
            self.browser = await self._runner.reopened()
        self.lost = [*LOST_ALWAYS, *(await self.browser.restore(self.kept))]
        self.continuity = "rehydrated"

    async def _told(self, result: StepResult, step: AnyStep, done: Done) -> StepResult:
        update: dict[str, object] = {"page_id": done.page_id}
        if done.page_id is not None:
            page = await self.browser.page(done.page_id)
            if page is not None:
                update |= {"url": page.url[:_MAX_URL], "title": page.title}
        if done.value is not None:
            update["value"] = done.value
        if done.file is not None:
            artifact = await self._artifact(result.index, step, done.file)
            if artifact is None:
                message = "The file could not be stored, nor does it fit into the answer."
                error = StepError(code="step_failed", message=message)
                return result.model_copy(update={**update, "outcome": "failed", "error": error})
            update["artifact"] = artifact
        return result.model_copy(update=update)

    async def _artifact(self, index: int, step: AnyStep, file: File) -> Artifact | None:
        link = self.command.artifacts.get(index)
        stored = link is not None and await self._runner.keep(
            link.url, file.content, file.media_type
        )
        data = None
        size = len(file.content)
        if getattr(step, "inline", False) and size <= self._inline_left:
            self._inline_left -= size
            data = base64.b64encode(file.content).decode()
        if data is None and not stored:
            return None
        name = file.name or (link.name if link else f"step-{index}{file.suffix}")
        return Artifact(
            name=name,
            media_type=file.media_type,
            size=size,
            data=data,
            truncated=file.truncated,
            # The dispatcher turns it into a link: this function may not read.
            url=link.name if stored and link else None,
        )
