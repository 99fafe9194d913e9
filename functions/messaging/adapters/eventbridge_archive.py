"""The archive of the environment's bus, on EventBridge."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from functions.messaging.domain.replays import Progress, Replay, State
from functions.messaging.domain.replays_errors import ArchiveUnavailableError
from servicekit.aws import LazyClient, make_client

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

_EXISTS = "ResourceAlreadyExistsException"
_UNKNOWN = "ResourceNotFoundException"
_ENDED = "IllegalStatusException"
_STATES: Mapping[str, State] = {
    "STARTING": "starting",
    "RUNNING": "running",
    "CANCELLING": "cancelling",
    "COMPLETED": "completed",
    "CANCELLED": "cancelled",
    "FAILED": "failed",
}
_logger = logging.getLogger(__name__)


class EventBridgeArchive:
    """`replays.Archive`. Replays go to the rule of their stream, `<rule prefix><stream>`, alone."""

    def __init__(
        self,
        archive_arn: str,
        bus_arn: str,
        rule_prefix: str,
        make: Callable[[], EventBridgeClient] | None = None,
    ) -> None:
        self._archive_arn = archive_arn
        self._bus_arn = bus_arn
        self._rules = bus_arn.replace(":event-bus/", ":rule/", 1) + f"/{rule_prefix}"
        self._client: LazyClient[EventBridgeClient] = LazyClient(make or _make_client)

    async def start(self, replay: Replay) -> None:
        """See `Archive`."""
        await self._call(
            "start_replay",
            {_EXISTS},
            ReplayName=replay.replay_id,
            EventSourceArn=self._archive_arn,
            EventStartTime=replay.start,
            EventEndTime=replay.end,
            Destination={
                "Arn": self._bus_arn,
                "FilterArns": [f"{self._rules}{replay.stream}"],
            },
        )

    async def progress(self, replay_id: str) -> Progress | None:
        """See `Archive`."""
        answer = await self._call("describe_replay", {_UNKNOWN}, ReplayName=replay_id)
        if answer is None:
            return None
        return Progress(
            _STATES[answer["State"]],
            _moment(answer.get("EventLastReplayedTime")),
            _moment(answer.get("ReplayEndTime")),
        )

    async def cancel(self, replay_id: str) -> None:
        """See `Archive`."""
        await self._call("cancel_replay", {_UNKNOWN, _ENDED}, ReplayName=replay_id)

    async def _call(self, operation: str, expected: set[str], **arguments: Any) -> Any:
        """The answer, or None for one of the errors that are `expected`."""
        return await asyncio.to_thread(self._call_now, operation, expected, arguments)

    def _call_now(self, operation: str, expected: set[str], arguments: dict[str, Any]) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            return getattr(self._client.get(), operation)(**arguments)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in expected:
                return None
            _logger.exception(
                "the archive refused", extra={"operation": operation, "aws_code": code}
            )
            raise ArchiveUnavailableError(retry_after=5) from None
        except BotoCoreError:
            _logger.exception("the archive does not answer", extra={"operation": operation})
            raise ArchiveUnavailableError(retry_after=5) from None


def _moment(value: object) -> datetime | None:
    return value.astimezone(UTC) if isinstance(value, datetime) else None


def _make_client() -> EventBridgeClient:
    client = make_client(
        "events",
        connect_timeout=2,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return cast("EventBridgeClient", client)
