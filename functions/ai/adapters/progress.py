"""Progress of jobs, posted to the message service under this function's role.

It does without: a service that fails or hangs is asked no more for a while, and no call takes
longer than it is given.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from contracts.client.signing import SigV4
from contracts.client.transport import CallOptions
from contracts.messaging.client import MessageClient
from contracts.messaging.progress import MAX_BATCH, ProgressCreate
from functions.ai.domain.breaker import CLOSED
from functions.ai.domain.job_ports import ProgressNote
from servicekit.aws import current_region
from servicekit.context import current_context

_logger = logging.getLogger(__name__)


class Address(Protocol):
    """Where the message service is said to be."""

    async def get(self) -> str:
        """Its address. Raises `ParameterUnavailableError`."""

    def forget(self) -> None:
        """Has the next `get` ask again."""


class MessageServiceProgress:
    """`job_ports.JobProgress` on the message service's v1 API.

    The circuit is this process's own: that it opens late elsewhere costs nobody anything. A note of
    a status goes to the job's topic and to its project's.
    """

    def __init__(
        self,
        address: Address,
        call_seconds: float,
        make: Callable[[str], MessageClient] | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._call_seconds = call_seconds
        self._make = make or _make_client
        self._timer = timer
        self._circuit = CLOSED
        self._client: MessageClient | None = None
        self._client_url = ""

    async def tell(self, notes: Sequence[ProgressNote]) -> None:
        """See `JobProgress`."""
        phase = self._circuit.phase(int(self._timer()))
        if phase == "open" or not notes:
            return
        if phase == "due":
            self._circuit = self._circuit.probed(int(self._timer()))
        try:
            async with asyncio.timeout(self._call_seconds):
                await self._post([message for note in notes for message in _messages(note)])
        except asyncio.CancelledError as error:
            # Whoever told could wait no longer.
            self._failed(error, probe=phase == "due")
            raise
        except Exception as error:  # noqa: BLE001 - a job goes on, whatever this is
            self._failed(error, probe=phase == "due")
        else:
            self._circuit = self._circuit.succeeded()

    async def _post(self, messages: Sequence[ProgressCreate]) -> None:
        client = await self._connected()
        context = current_context()
        options = CallOptions(
            request_id=context.request_id if context else None,
            traceparent=context.trace.traceparent if context else None,
        )
        batches = [messages[n : n + MAX_BATCH] for n in range(0, len(messages), MAX_BATCH)]
        results = await asyncio.gather(
            *(client.post_progress_batch(batch, options=options) for batch in batches)
        )
        items = [item for result in results for item in result.results]
        refused = sorted({item.error.code for item in items if item.error})
        if refused:
            _logger.warning("progress not taken", extra={"codes": refused})

    def _failed(self, error: BaseException, *, probe: bool) -> None:
        self._address.forget()
        before = self._circuit.openings
        self._circuit = self._circuit.failed(int(self._timer()), probe=probe)
        _logger.warning(
            "progress not told",
            extra={
                "error": type(error).__name__,
                "given_up": self._circuit.openings > before,
            },
        )

    async def _connected(self) -> MessageClient:
        url = await self._address.get()
        if self._client is None or url != self._client_url:
            if self._client is not None:
                await self._client.aclose()
            self._client = self._make(url)
            self._client_url = url
        return self._client


def _messages(note: ProgressNote) -> list[ProgressCreate]:
    topics = [f"job:{note.turn_id}"]
    if note.new_status:
        topics.append(f"project:{note.project_id}")
    return [
        ProgressCreate(
            topic=topic,
            data=dict(note.data),
            event_id=note.key,
            # A project goes on.
            terminal=note.terminal and topic.startswith("job:"),
        )
        for topic in topics
    ]


def _make_client(url: str) -> MessageClient:
    return MessageClient(url, auth=SigV4(region=current_region()))
