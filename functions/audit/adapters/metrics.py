"""Figures that alarms watch: CloudWatch custom metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from servicekit.aws import LazyClient, make_client

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import MetricDatumTypeDef

_CONNECT_SECONDS = 2
_READ_SECONDS = 5


class CloudWatchMetrics:
    """`ports.Metrics` in the namespace `Santaclaude/<environment>/audit`."""

    def __init__(
        self, environment: str, make: Callable[[], CloudWatchClient] | None = None
    ) -> None:
        self._namespace = f"Santaclaude/{environment}/audit"
        self._client: LazyClient[CloudWatchClient] = LazyClient(make or _make_client)

    async def put(self, values: Mapping[str, float]) -> None:
        """See `ports.Metrics`. Raises botocore's errors: a figure that is lost is an alarm lost."""
        await asyncio.to_thread(self._put, values)

    def _put(self, values: Mapping[str, float]) -> None:
        self._client.get().put_metric_data(
            Namespace=self._namespace,
            MetricData=[_datum(name, value) for name, value in values.items()],
        )


def _datum(name: str, value: float) -> MetricDatumTypeDef:
    return {
        "MetricName": name,
        "Value": value,
        "Unit": "Seconds" if name.endswith("Seconds") else "Count",
    }


def _make_client() -> CloudWatchClient:
    client: CloudWatchClient = make_client(
        "cloudwatch",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return client
