"""A table of a service."""

from collections.abc import Sequence

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from infra.security import Reason, acknowledge

KEY = ("pk", "sk")
EXPIRY = "expires_at"
ALL_ATTRIBUTES: Sequence[str] = ()


class ServiceTable(Construct):
    """On-demand, encrypted under the account's DynamoDB key, recoverable to any second.

    Keys are `pk`/`sk`; index n has `gsi<n>pk`/`gsi<n>sk`, all strings. `indexes` says what each
    index holds beside the keys; an empty list of attributes stands for all of them. Items with
    `expires_at` (epoch seconds) in the past are removed. With `stream` every change is told with
    the item before and after it.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        indexes: Sequence[Sequence[str]],
        retain: bool,
        stream: bool = False,
    ) -> None:
        super().__init__(scope, construct_id)
        partition_key, sort_key = (_string(attribute) for attribute in KEY)
        self.index_names = [f"gsi{number}" for number in range(1, len(indexes) + 1)]
        self.table = dynamodb.TableV2(
            self,
            "Table",
            table_name=name,
            partition_key=partition_key,
            sort_key=sort_key,
            global_secondary_indexes=[
                _index(name, attributes)
                for name, attributes in zip(self.index_names, indexes, strict=True)
            ],
            billing=dynamodb.Billing.on_demand(),
            encryption=dynamodb.TableEncryptionV2.aws_managed_key(),
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            time_to_live_attribute=EXPIRY,
            dynamo_stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES if stream else None,
            deletion_protection=retain,
            removal_policy=_removal(retain),
        )


class ErasableTable(Construct):
    """A table in which what is deleted is gone: for keys whose deletion is an erasure.

    Point-in-time recovery would bring a deleted key back for 35 days, and a stream would carry it
    for a day to whoever reads it. So it has neither, and nothing in it expires by itself. What is
    lost with it is what its keys had locked; records and their proofs hold without them.
    """

    def __init__(self, scope: Construct, construct_id: str, *, name: str, retain: bool) -> None:
        super().__init__(scope, construct_id)
        partition_key, sort_key = (_string(attribute) for attribute in KEY)
        self.table = dynamodb.TableV2(
            self,
            "Table",
            table_name=name,
            partition_key=partition_key,
            sort_key=sort_key,
            billing=dynamodb.Billing.on_demand(),
            encryption=dynamodb.TableEncryptionV2.aws_managed_key(),
            deletion_protection=retain,
            removal_policy=_removal(retain),
        )
        acknowledge(self.table, Reason.ERASABLE)


def _index(name: str, attributes: Sequence[str]) -> dynamodb.GlobalSecondaryIndexPropsV2:
    return dynamodb.GlobalSecondaryIndexPropsV2(
        index_name=name,
        partition_key=_string(f"{name}pk"),
        sort_key=_string(f"{name}sk"),
        projection_type=dynamodb.ProjectionType.INCLUDE
        if attributes
        else dynamodb.ProjectionType.ALL,
        non_key_attributes=list(attributes) or None,
    )


def _removal(retain: bool) -> RemovalPolicy:
    return RemovalPolicy.RETAIN if retain else RemovalPolicy.DESTROY


def _string(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
