"""Statements of what a function may do, each on resources of its own stack."""

from collections.abc import Sequence
from typing import cast

from aws_cdk import Aws, CfnElement, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs

from infra.constructs.service_api import STAGE
from infra.constructs.service_table import ServiceTable
from infra.security import Reason, acknowledge
from infra.settings import DeploySettings


def items(
    sid: str,
    table: dynamodb.ITableV2,
    actions: Sequence[str],
    *,
    partitions: Sequence[str] = (),
) -> iam.PolicyStatement:
    """DynamoDB actions on the table itself, on items whose partition keys match `partitions`."""
    return iam.PolicyStatement(
        sid=sid,
        actions=[f"dynamodb:{action}" for action in actions],
        resources=[table.table_arn],
        conditions={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": list(partitions)}}
        if partitions
        else None,
    )


def queries(sid: str, table: ServiceTable, *indexes: str) -> iam.PolicyStatement:
    """Queries over the indexes named, or over all."""
    return iam.PolicyStatement(
        sid=sid,
        actions=["dynamodb:Query"],
        resources=[
            f"{table.table.table_arn}/index/{index}" for index in indexes or table.index_names
        ],
    )


def objects(
    sid: str, bucket: s3.IBucket, actions: Sequence[str], names: str = "*"
) -> iam.PolicyStatement:
    """S3 actions on the objects whose names match `names`."""
    return iam.PolicyStatement(
        sid=sid,
        actions=[f"s3:{action}" for action in actions],
        resources=[bucket.arn_for_objects(names)],
    )


def bucket_itself(sid: str, bucket: s3.IBucket, actions: Sequence[str]) -> iam.PolicyStatement:
    """S3 actions on a bucket. With ListBucket, what is missing is a 404 instead of a 403."""
    return iam.PolicyStatement(
        sid=sid, actions=[f"s3:{action}" for action in actions], resources=[bucket.bucket_arn]
    )


def send(sid: str, queue: sqs.IQueue, action: str = "sqs:SendMessage") -> iam.PolicyStatement:
    """Sending to a queue."""
    return iam.PolicyStatement(sid=sid, actions=[action], resources=[queue.queue_arn])


def invoke(sid: str, function: lambda_.IFunction) -> iam.PolicyStatement:
    """Calling another function."""
    return iam.PolicyStatement(
        sid=sid, actions=["lambda:InvokeFunction"], resources=[function.function_arn]
    )


def read_parameter(sid: str, name: str) -> iam.PolicyStatement:
    """Reading a parameter, by its whole name."""
    return iam.PolicyStatement(
        sid=sid,
        actions=["ssm:GetParameter"],
        resources=[f"arn:{Aws.PARTITION}:ssm:{Aws.REGION}:{Aws.ACCOUNT_ID}:parameter{name}"],
    )


def call_api(sid: str, route: str) -> iam.PolicyStatement:
    """Calling a route (`POST/api/v1/...`) of whichever API of this account: which one it is, is in
    a parameter, and that one's own policy says who may call it.
    """
    apis = f"arn:{Aws.PARTITION}:execute-api:{Aws.REGION}:{Aws.ACCOUNT_ID}:*"
    return iam.PolicyStatement(
        sid=sid, actions=["execute-api:Invoke"], resources=[f"{apis}/{STAGE}/{route}"]
    )


def metrics(namespace: str, *, bound: bool) -> iam.PolicyStatement:
    """Putting metrics. The action takes no resource; `bound`, it takes this namespace alone."""
    return iam.PolicyStatement(
        sid="Metrics",
        actions=["cloudwatch:PutMetricData"],
        resources=["*"],
        conditions={"StringEquals": {"cloudwatch:namespace": namespace}} if bound else None,
    )


def put_events(sid: str, settings: DeploySettings) -> iam.PolicyStatement:
    """Putting events of our services on the environment's bus."""
    bus = f"event-bus/{settings.event_bus}"
    return iam.PolicyStatement(
        sid=sid,
        actions=["events:PutEvents"],
        resources=[f"arn:{Aws.PARTITION}:events:{Aws.REGION}:{Aws.ACCOUNT_ID}:{bus}"],
        conditions={"StringLike": {"events:source": "santaclaude.*"}}
        if settings.request_details
        else None,
    )


def acknowledge_objects(role: iam.IRole, bucket: s3.IBucket, names: str = "*") -> None:
    """Tell cdk-nag why the role's policy has a star for objects of the bucket."""
    element = cast("CfnElement", bucket.node.default_child)
    logical_id = Stack.of(bucket).get_logical_id(element)
    acknowledge(role, Reason.OBJECTS, bucket=logical_id, names=names)
