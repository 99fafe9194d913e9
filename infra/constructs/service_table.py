"""The one table of a service."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

KEY = ("pk", "sk")
EXPIRY = "expires_at"


class ServiceTable(Construct):
    """On-demand, encrypted under the account's DynamoDB key, recoverable to any second.

    Keys are `pk`/`sk`; index n has `gsi<n>pk`/`gsi<n>sk`, all strings, all attributes projected.
    Items with `expires_at` (epoch seconds) in the past are removed.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, name: str, indexes: int, retain: bool
    ) -> None:
        super().__init__(scope, construct_id)
        partition_key, sort_key = (_string(attribute) for attribute in KEY)
        self.table = dynamodb.TableV2(
            self,
            "Table",
            table_name=name,
            partition_key=partition_key,
            sort_key=sort_key,
            global_secondary_indexes=[
                dynamodb.GlobalSecondaryIndexPropsV2(
                    index_name=f"gsi{number}",
                    partition_key=_string(f"gsi{number}pk"),
                    sort_key=_string(f"gsi{number}sk"),
                )
                for number in range(1, indexes + 1)
            ],
            billing=dynamodb.Billing.on_demand(),
            encryption=dynamodb.TableEncryptionV2.aws_managed_key(),
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            time_to_live_attribute=EXPIRY,
            deletion_protection=retain,
            removal_policy=RemovalPolicy.RETAIN if retain else RemovalPolicy.DESTROY,
        )


def _string(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
