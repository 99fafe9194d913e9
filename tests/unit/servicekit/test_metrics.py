"""Figures, as CloudWatch gets them."""

import pytest

from servicekit.metrics import CloudWatchMetrics

pytestmark = pytest.mark.anyio


class CloudWatch:
    def __init__(self) -> None:
        self.calls: list[dict] = []

    def put_metric_data(self, **arguments):
        self.calls.append(arguments)


async def test_a_name_tells_its_unit():
    client = CloudWatch()
    await CloudWatchMetrics("Santaclaude/dev/ai", lambda: client).put(
        {"AuditOutboxOldestSeconds": 1.5, "AuditOutboxRefused": 2.0}
    )
    assert client.calls == [
        {
            "Namespace": "Santaclaude/dev/ai",
            "MetricData": [
                {"MetricName": "AuditOutboxOldestSeconds", "Value": 1.5, "Unit": "Seconds"},
                {"MetricName": "AuditOutboxRefused", "Value": 2.0, "Unit": "Count"},
            ],
        }
    ]


async def test_a_figure_that_is_lost_is_the_callers_business():
    class Down:
        def put_metric_data(self, **_arguments):
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await CloudWatchMetrics("x", Down).put({"Gaps": 1.0})
