"""What all services of an environment share. It changes rarely, and nothing is exported from it."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.security import Reason, acknowledge
from infra.settings import LOCAL_OPERATOR, DeploySettings
from infra.stacks.environment import EnvironmentStack


class FoundationStack(EnvironmentStack):
    """API Gateway's right to write logs and, in the local cloud, the role of its front door."""

    def __init__(self, scope: Construct, name: str, *, settings: DeploySettings) -> None:
        super().__init__(scope, name, settings=settings)
        self._api_gateway_logs()
        if settings.trust_local_operator:
            iam.Role(
                self,
                "LocalOperator",
                role_name=LOCAL_OPERATOR,
                description="Signs what people send unsigned to the local front door.",
                assumed_by=iam.AccountRootPrincipal(),
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
