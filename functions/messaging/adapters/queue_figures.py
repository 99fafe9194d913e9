"""Figures of the streams' queues: depth by SQS, the age of the oldest message by CloudWatch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from functions.messaging.adapters.sqs_tasks import make_sqs
from functions.messaging.domain.figures import Depth
from functions.messaging.domain.figures_errors import FiguresUnavailableError
from servicekit.aws import LazyClient, make_client
from servicekit.clock import Clock

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_sqs import SQSClient

_Attribute = Literal[
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
]
_ATTRIBUTES: tuple[_Attribute, ...] = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
_LOOK_BACK = timedelta(minutes=5)
"""SQS tells CloudWatch once a minute, and nothing of a queue that has been empty for long."""

_logger = logging.getLogger(__name__)
T = TypeVar("T")


class QueueFigures:
    """`figures.Queues`; names are completed by `prefix`. The queues lie beside that of `url`."""

    def __init__(
        self,
        url: str,
        prefix: str,
        clock: Clock,
        make: Callable[[], SQSClient] | None = None,
        make_metrics: Callable[[], CloudWatchClient] | None = None,
    ) -> None:
        self._beside = url.rpartition("/")[0]
        self._prefix = prefix
        self._clock = clock
        self._sqs: LazyClient[SQSClient] = LazyClient(make or make_sqs)
        self._metrics: LazyClient[CloudWatchClient] = LazyClient(make_metrics or _make_metrics)

    async def depth(self, name: str) -> Depth:
        """See `Queues`."""
        return await asyncio.to_thread(_guarded, lambda: self._depth(name))

    async def ages(self, names: Sequence[str]) -> Mapping[str, int]:
        """See `Queues`."""
        return await asyncio.to_thread(_guarded, lambda: self._ages(names))

    def _depth(self, name: str) -> Depth:
        answer = self._sqs.get().get_queue_attributes(
            QueueUrl=f"{self._beside}/{self._prefix}{name}",
            AttributeNames=list(_ATTRIBUTES),
        )
        return Depth(*(int(answer["Attributes"][attribute]) for attribute in _ATTRIBUTES))

    def _ages(self, names: Sequence[str]) -> dict[str, int]:
        now = self._clock()
        queries: list[Any] = [
            {
                "Id": f"q{number}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/SQS",
                        "MetricName": "ApproximateAgeOfOldestMessage",
                        "Dimensions": [{"Name": "QueueName", "Value": f"{self._prefix}{name}"}],
                    },
                    "Period": 60,
                    "Stat": "Maximum",
                },
            }
            for number, name in enumerate(names)
        ]
        answer = self._metrics.get().get_metric_data(
            MetricDataQueries=queries,
            StartTime=now - _LOOK_BACK,
            EndTime=now,
            ScanBy="TimestampDescending",
        )
        found: dict[str, int] = {}
        for result in answer["MetricDataResults"]:
            if result.get("Values"):
                found[names[int(result["Id"][1:])]] = round(result["Values"][0])
        return found


def _guarded(call: Callable[[], T]) -> T:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        return call()
    except ClientError as error:
        _logger.exception(
            "figures were refused", extra={"aws_code": error.response["Error"]["Code"]}
        )
        raise FiguresUnavailableError(retry_after=1) from None
    except BotoCoreError:
        _logger.exception("figures were not answered")
        raise FiguresUnavailableError(retry_after=1) from None


def _make_metrics() -> CloudWatchClient:
    client = make_client(
        "cloudwatch",
        connect_timeout=2,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return cast("CloudWatchClient", client)
