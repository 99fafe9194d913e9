"""What the dispatcher and the browser's own function say to each other."""

from __future__ import annotations

from pydantic import Field

from contracts.base import WireInt, WireModel
from contracts.browser.steps import (
    BatchResult,
    StepBatch,
)


class ArtifactLink(WireModel):
    """Where one step's file is to be stored."""

    name: str
    url: str


class Egress(WireModel):
    """What the session may reach: see `functions/browser_worker/domain/egress.py`."""

    sites: list[str] = Field(default_factory=list)
    strict: bool = False


class WorkerCommand(WireModel):
    """A batch, and all that is needed to find or rebuild the session's browser.

    The browser is the session's own where it remembers `live_epoch` in `env_id`. `restore_from` and
    `store_to` are links for this one session's checkpoint, `artifacts` one for each step that makes
    a file, by its index. `seconds` is the batch's whole budget.
    """

    session_id: str
    epoch: WireInt
    live_epoch: WireInt | None = None
    env_id: str | None = None
    restore_from: str | None = None
    store_to: str
    artifacts: dict[int, ArtifactLink] = Field(default_factory=dict)
    egress: Egress = Field(default_factory=Egress)
    seconds: float
    batch: StepBatch


class WorkerReply(WireModel):
    """The answer. `refused`: not live, and therefore nothing was done."""

    env_id: str
    refused: bool
    checkpoint_stored: bool
    heals: WireInt = 0
    result: BatchResult
