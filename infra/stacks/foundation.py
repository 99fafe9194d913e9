"""What all services of an environment share. It changes rarely, and nothing is exported from it."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra.security import Reason, acknowledge
from infra.settings import LOCAL_OPERATOR, DeploySettings
from infra.stacks.environment import EnvironmentStack


class FoundationStack(EnvironmentStack):
    """The event bus, the topic of all alarms, API Gateway's right to write logs and, in the local
    cloud, the role of its front door.

    Other stacks know the bus and the topic by their names (`DeploySettings`).
    """

    def __init__(self, scope: Construct, name: str, *, settings: DeploySettings) -> None:
        super().__init__(scope, name, settings=settings)
        self._api_gateway_logs()
        events.EventBus(self, "Bus", event_bus_name=settings.event_bus)
        self._alarm_topic(settings.alarm_topic)
        if settings.trust_local_operator:
            iam.Role(
                self,
                "LocalOperator",
                role_name=LOCAL_OPERATOR,
                description="Signs what people send unsigned to the local front door.",
                assumed_by=iam.AccountRootPrincipal(),
            )

    def _alarm_topic(self, name: str) -> None:
        """Not encrypted under a key: CloudWatch may not use the account's own for SNS, and what an
        alarm says are names and numbers.
        """
        topic = sns.Topic(self, "Alarms", topic_name=name, enforce_ssl=True)
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="Alarms",
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": self.account}},
            )
        )

    def _api_gateway_logs(self) -> None:
        role = iam.Role(
            self,
            "ApiGatewayLogs",
            assumed_by=iam.ServicePrincipal("apigateway.amazonaws.com"),
            managed_policies=[
                iam.ManagedPolicy.from_aws_managed_policy_name(
                    "service-role/AmazonAPIGatewayPushToCloudWatchLogs"
                )
            ],
        )
        acknowledge(role, Reason.API_GATEWAY_LOGS)
        # One per account and region: it stays when an environment of several is destroyed.
        role.apply_removal_policy(RemovalPolicy.RETAIN)
        account = apigateway.CfnAccount(
            self, "ApiGatewayAccount", cloud_watch_role_arn=role.role_arn
        )
        account.apply_removal_policy(RemovalPolicy.RETAIN)
