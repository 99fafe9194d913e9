"""A function that is told of a table's changes."""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as event_sources
from constructs import Construct

from infra.constructs.python_function import PythonFunction
from infra.constructs.service_table import ServiceTable
from infra.constructs.work_queue import FailureQueue

# The stream keeps changes for 24 h: what is given up by then can still be looked up in it.
_GIVE_UP = Duration.hours(6)


class StreamConsumer(Construct):
    """Gives the function the changes that match one of `filters`, in order within each shard.

    A batch that failed is halved until the change at fault stands alone, which is tried for 6 h;
    then its place in the stream (not its content) goes to the queue `<function's name>-failures`.
    The function fails a batch by raising. A stream serves two consumers well, no more.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        table: ServiceTable,
        function: PythonFunction,
        filters: Sequence[Mapping[str, object]],
        batch_size: int,
        window: Duration | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.failures = FailureQueue(self, "Failures", name=f"{function.name}-failures")
        lambda_.EventSourceMapping(
            self,
            "Mapping",
            target=function.alias,
            event_source_arn=readable_stream(table, function),
            # What was stored while a first deployment was under way counts too.
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            filters=[{"pattern": Stack.of(self).to_json_string(dict(one))} for one in filters],
            batch_size=batch_size,
            max_batching_window=window,
            bisect_batch_on_error=True,
            max_record_age=_GIVE_UP,
            on_failure=event_sources.SqsDlq(self.failures.queue),
        )


def readable_stream(table: ServiceTable, function: PythonFunction) -> str:
    """The ARN of the table's stream, which the function may read. Raises ValueError for none."""
    arn = table.table.table_stream_arn
    if arn is None:
        raise ValueError(f"{table.node.path} has no stream")
    for statement in (
        iam.PolicyStatement(
            sid="Stream",
            actions=[
                "dynamodb:DescribeStream",
                "dynamodb:GetRecords",
                "dynamodb:GetShardIterator",
            ],
            resources=[arn],
        ),
        iam.PolicyStatement(sid="Streams", actions=["dynamodb:ListStreams"], resources=["*"]),
    ):
        function.role.add_to_policy(statement)
    return arn
