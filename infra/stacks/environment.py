"""What every stack of an environment has in common."""

from collections.abc import Sequence
from typing import cast

from aws_cdk import CfnElement, CliCredentialsStackSynthesizer, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_iam as iam
from aws_cdk import aws_ssm as ssm
from constructs import Construct, IConstruct

from infra.constructs.service_api import STAGE
from infra.security import Reason, acknowledge
from infra.settings import LOCAL_OPERATOR, DeploySettings


class EnvironmentStack(Stack):
    """Named, tagged and deployed as the environment's settings say."""

    def __init__(self, scope: Construct, name: str, *, settings: DeploySettings) -> None:
        super().__init__(
            scope,
            f"{settings.prefix}-{name}",
            synthesizer=None if settings.bootstrap_roles else CliCredentialsStackSynthesizer(),
            tags={"santaclaude:environment": settings.environment},
        )
        self._settings = settings

    def logical_id(self, construct: IConstruct) -> str:
        """Of the resource that `construct` stands for, as cdk-nag's rules name it."""
        return self.get_logical_id(cast("CfnElement", construct.node.default_child))

    def publish(self, service: str, api: apigateway.RestApi) -> None:
        """Write where the service's API is into the parameters that others look it up by."""
        if self._settings.endpoint:
            address = f"{self._settings.endpoint}/_aws/execute-api/{api.rest_api_id}/{STAGE}"
        else:
            host = f"{api.rest_api_id}.execute-api.{self.region}.{self.url_suffix}"
            address = f"https://{host}/{STAGE}"
        for key, value in {"api-id": api.rest_api_id, "api-url": address}.items():
            ssm.StringParameter(
                self,
                f"Parameter-{key}",
                parameter_name=self._settings.parameter(service, key),
                string_value=value,
            )

    def admit_operator(
        self, service: str, api: apigateway.RestApi, *, runs_as: Sequence[iam.IRole] = ()
    ) -> None:
        """Let the local cloud's front door call the API, and run applications under `runs_as`."""
        statements = [
            iam.PolicyStatement(
                actions=["execute-api:Invoke"], resources=[api.arn_for_execute_api()]
            )
        ]
        if runs_as:
            statements.append(
                iam.PolicyStatement(
                    actions=["sts:AssumeRole"], resources=[role.role_arn for role in runs_as]
                )
            )
        policy = iam.Policy(
            self,
            "OperatorAccess",
            policy_name=f"{service}-api",
            statements=statements,
            roles=[iam.Role.from_role_name(self, "Operator", LOCAL_OPERATOR)],
        )
        acknowledge(policy, Reason.WHOLE_API, api=self.logical_id(api))
