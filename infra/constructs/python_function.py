"""A Python function with the defaults of every function here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Aws, Duration, RemovalPolicy, Size, Stack, Tags
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra import web_adapter
from infra.security import Reason, acknowledge

_RUNTIME = lambda_.Runtime.PYTHON_3_13
_ARCHITECTURE = lambda_.Architecture.ARM_64
# Lambda takes no snapshot of a function with more:
# https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html
_SNAPSHOT_DISK_MB = 512


@dataclass(frozen=True, kw_only=True)
class FunctionDefaults:
    """What all functions of a stack share."""

    service: str
    layers: Sequence[lambda_.ILayerVersion]
    code: lambda_.Code
    log_retention: logs.RetentionDays
    snap_start: bool


class PythonFunction(Construct):
    """A function under its own role, reached through its alias `live`.

    The role may write to this function's log group, send traces, and do what `permissions` say.
    With `streamed` the handler is a shell script that serves HTTP behind the Lambda Web Adapter.
    `failures` says where an invocation that failed is kept or told of. `layers` come on top of
    those of `defaults`, and `disk_mb` is the size of /tmp.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        handler: str,
        defaults: FunctionDefaults,
        environment: Mapping[str, str],
        memory_mb: int,
        timeout: Duration,
        permissions: Sequence[iam.PolicyStatement],
        failures: Reason = Reason.SYNCHRONOUS,
        layers: Sequence[lambda_.ILayerVersion] = (),
        disk_mb: int = 512,
        streamed: bool = False,
        trusted_roles: Sequence[str] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        self.name = name
        log_group = logs.LogGroup(
            self,
            "Logs",
            log_group_name=f"/aws/lambda/{name}",
            retention=defaults.log_retention,
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.role = self._role(name, log_group, permissions, trusted_roles)
        all_layers = [*defaults.layers, *layers]
        variables = dict(environment)
        if streamed:
            arn = web_adapter.layer_arn(Stack.of(self).region)
            all_layers.append(lambda_.LayerVersion.from_layer_version_arn(self, "WebAdapter", arn))
            variables |= web_adapter.environment()
        snapshot = defaults.snap_start and disk_mb <= _SNAPSHOT_DISK_MB
        self.function = lambda_.Function(
            self,
            "Function",
            function_name=name,
            runtime=_RUNTIME,
            architecture=_ARCHITECTURE,
            handler=handler,
            code=defaults.code,
            layers=all_layers,
            role=self.role,
            environment=variables,
            memory_size=memory_mb,
            ephemeral_storage_size=Size.mebibytes(disk_mb),
            timeout=timeout,
            tracing=lambda_.Tracing.ACTIVE,
            logging_format=lambda_.LoggingFormat.JSON,
            log_group=log_group,
            snap_start=lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS if snapshot else None,
        )
        self.alias = lambda_.Alias(
            self, "Live", alias_name="live", version=self.function.current_version
        )
        Tags.of(self).add("santaclaude:service", defaults.service)
        Tags.of(self).add("santaclaude:delivery", "streamed" if streamed else "buffered")
        acknowledge(self.function, Reason.RUNTIME, failures)

    def _role(
        self,
        name: str,
        log_group: logs.ILogGroup,
        permissions: Sequence[iam.PolicyStatement],
        trusted_roles: Sequence[str],
    ) -> iam.Role:
        principals: list[iam.IPrincipal] = [iam.ServicePrincipal("lambda.amazonaws.com")]
        principals += [
            iam.ArnPrincipal(f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:role/{role}")
            for role in trusted_roles
        ]
        role = iam.Role(
            self,
            "Role",
            role_name=name,
            assumed_by=iam.CompositePrincipal(*principals),
        )
        role.add_to_policy(
            iam.PolicyStatement(
                sid="Logs",
                actions=["logs:CreateLogStream", "logs:PutLogEvents"],
                resources=[log_group.log_group_arn],
            )
        )
        for statement in permissions:
            role.add_to_policy(statement)
        acknowledge(role, Reason.NO_RESOURCE)
        return role
