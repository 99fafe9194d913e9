"""The environment's bus on EventBridge."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from contracts.messaging.envelope import Envelope
from functions.messaging.domain.envelopes import entry_bytes
from servicekit.aws import LazyClient, make_client
from servicekit.backoff import full_jitter

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
MAX_ENTRIES = 10
MAX_CALL_BYTES = 1_000_000
"""Of all entries together, which must be less than 1 MB."""

CALLS_AT_ONCE = 4
ATTEMPTS = 5
# No call begins later: whoever published gets an answer in time, and the sweep has the rest.
_PATIENCE_SECONDS = 8.0
_FIRST_PAUSE_SECONDS = 0.05
_CONNECT_SECONDS = 2
_READ_SECONDS = 5
# A call that is refused for one of these may pass as it is.
_PASSING = frozenset({"ThrottlingException", "InternalException", "InternalFailure"})
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    position: int
    size: int
    entry: PutEventsRequestEntryTypeDef


class EventBridgeBus:
    """`ports.Bus`: at most `MAX_ENTRIES` and `MAX_CALL_BYTES` a call, `CALLS_AT_ONCE` of them."""

    def __init__(self, bus: str, make: Callable[[], EventBridgeClient] | None = None) -> None:
        self._bus = bus
        self._client: LazyClient[EventBridgeClient] = LazyClient(make or _make_client)
        self._workers = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="eventbridge")

    async def put(self, envelopes: Sequence[Envelope]) -> list[int]:
        """See `Bus`."""
        entries = [self._entry(position, envelope) for position, envelope in enumerate(envelopes)]
        ends = time.monotonic() + _PATIENCE_SECONDS
        left = await asyncio.gather(*(self._put(call, ends) for call in _calls(entries)))
        return sorted(entry.position for call in left for entry in call)

    def close(self) -> None:
        """Ends the worker threads and the connections."""
        self._workers.shutdown(wait=True)
        self._client.close()

    def _entry(self, position: int, envelope: Envelope) -> _Entry:
        return _Entry(
            position,
            entry_bytes(envelope),
            {
                "EventBusName": self._bus,
                "Source": envelope.source,
                "DetailType": envelope.type,
                "Detail": envelope.model_dump_json(),
                # Of the acceptance: what the archive replays is chosen by it.
                "Time": envelope.acceptedat,
            },
        )

    async def _put(self, entries: Sequence[_Entry], ends: float) -> Sequence[_Entry]:
        """Puts one call's worth, and again those that were refused; returns those left over."""
        loop = asyncio.get_running_loop()
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(full_jitter(attempt, _FIRST_PAUSE_SECONDS))
            refused, again = await loop.run_in_executor(self._workers, self._put_now, entries, ends)
            entries = [entries[index] for index in refused]
            if not entries or not again:
                break
        return entries

    def _put_now(self, entries: Sequence[_Entry], ends: float) -> tuple[Sequence[int], bool]:
        """Which of the entries were refused, and whether it makes sense to send them again."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        everything = range(len(entries))
        if time.monotonic() >= ends:
            _logger.warning("no time is left for the bus", extra={"entries": len(entries)})
            return everything, False
        try:
            answer = self._client.get().put_events(Entries=[one.entry for one in entries])
        except ClientError as error:
            code = error.response["Error"]["Code"]
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            _logger.warning(
                "the bus refused a call", extra={"aws_code": code, "entries": len(entries)}
            )
            return everything, code in _PASSING or status >= 500  # noqa: PLR2004
        except BotoCoreError as error:
            _logger.warning("the bus does not answer", extra={"error": type(error).__name__})
            return everything, True
        # An answer of 200 says nothing about the entries: each tells for itself.
        told = answer["Entries"]
        refused = [index for index in everything if index >= len(told) or _failed(told[index])]
        if refused:
            codes = sorted({_code(told[index]) for index in refused if index < len(told)})
            _logger.warning(
                "the bus refused entries", extra={"entries": len(refused), "aws_codes": codes}
            )
        return refused, True


def _calls(entries: Sequence[_Entry]) -> Iterator[list[_Entry]]:
    """The entries in their order, split into what one call takes."""
    call: list[_Entry] = []
    size = 0
    for entry in entries:
        if call and (len(call) == MAX_ENTRIES or size + entry.size > MAX_CALL_BYTES):
            yield call
            call, size = [], 0
        call.append(entry)
        size += entry.size
    if call:
        yield call


def _failed(told: object) -> bool:
    return "ErrorCode" in cast("dict[str, str]", told)


def _code(told: object) -> str:
    return cast("dict[str, str]", told)["ErrorCode"]


def _make_client() -> EventBridgeClient:
    client = make_client(
        "events",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        max_pool_connections=CALLS_AT_ONCE,
        # Ours are made above from typed values; checking them costs more CPU than sending them.
        parameter_validation=False,
        # Calls are tried again above, with those of their entries that are left.
        retries={"mode": "standard", "total_max_attempts": 1},
    )
    return cast("EventBridgeClient", client)
