"""Figures that alarms watch, in CloudWatch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, cast

from servicekit.aws import LazyClient, make_client

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient


class Metrics(Protocol):
    """Where figures go."""

    async def put(self, values: Mapping[str, float]) -> None:
        """Records values by metric name: counts, or seconds for names that end in `Seconds`."""


class CloudWatchMetrics:
    """`Metrics` in one CloudWatch namespace."""

    def __init__(self, namespace: str, make: Callable[[], CloudWatchClient] | None = None) -> None:
        self._namespace = namespace
        self._client: LazyClient[CloudWatchClient] = LazyClient(make or _make_client)

    async def put(self, values: Mapping[str, float]) -> None:
        """See `Metrics`. Raises botocore's errors: callers know what a lost figure costs."""
        await asyncio.to_thread(self._put_now, values)

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()

    def _put_now(self, values: Mapping[str, float]) -> None:
        self._client.get().put_metric_data(
            Namespace=self._namespace,
            MetricData=[
                {
                    "MetricName": name,
                    "Value": value,
                    "Unit": "Seconds" if name.endswith("Seconds") else "Count",
                }
                for name, value in values.items()
            ],
        )


def _make_client() -> CloudWatchClient:
    client = make_client(
        "cloudwatch",
        connect_timeout=2,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return cast("CloudWatchClient", client)
