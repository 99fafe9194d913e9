"""What the server keeps of a call."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["complete", "refused", "broken", "left", "stopped"]
"""How a call ended: with a whole answer, with a refusal, broken off as its script wants it, because
the client left, or because the server stopped.
"""

_WAIT_SECONDS = 10.0


@dataclass(slots=True)
class RecordedCall:
    """A call as it came (header names are lower case), and how it went.

    `connection` numbers the connections; `sent` counts the chunks of content.
    """

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    connection: int
    sent: int = 0
    outcome: Outcome | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    def end(self, outcome: Outcome) -> None:
        """It is over."""
        self.outcome = outcome
        self._over.set()

    def wait(self) -> Outcome:
        """How it ended, once it has."""
        assert self._over.wait(_WAIT_SECONDS), "the call goes on"
        assert self.outcome is not None
        return self.outcome
