"""The browser's function: a container image, one environment for each session."""

from collections.abc import Mapping

from aws_cdk import Duration, RemovalPolicy, Size, Tags
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.bundles import ROOT
from infra.security import Reason, acknowledge

# CPU comes with memory (1,769 MB is one vCPU), and 20 pages take 785 MB.
_MEMORY_MB = 2_560
# Chromium's profile and what is downloaded.
_DISK_MB = 1_024


BUILT = "build"
"""The image of images/browser/Dockerfile, built and pushed by the deployment, with what CDK_DOCKER
names.
"""

_ARCHITECTURE = lambda_.Architecture.ARM_64


class BrowserWorker(Construct):
    """The function, under a role that may write its log and nothing else.

    An unsandboxed Chromium can read its parent's credentials, and one role serves all sessions: so
    it has no traces, no table and no bucket, and what its callers need it gets by links. `image` is
    one of this account's registry, `<repository>@<digest>` or `<repository>:<tag>`, or `BUILT`.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        service: str,
        timeout: Duration,
        log_retention: logs.RetentionDays,
        environment: Mapping[str, str],
        image: str,
    ) -> None:
        super().__init__(scope, construct_id)
        log_group = logs.LogGroup(
            self,
            "Logs",
            log_group_name=f"/aws/lambda/{name}",
            retention=log_retention,
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.role = iam.Role(
            self,
            "Role",
            role_name=name,
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
        )
        self.role.add_to_policy(
            iam.PolicyStatement(
                sid="Logs",
                actions=["logs:CreateLogStream", "logs:PutLogEvents"],
                resources=[log_group.log_group_arn],
            )
        )
        self.function = lambda_.DockerImageFunction(
            self,
            "Function",
            function_name=name,
            code=self._code(image),
            architecture=_ARCHITECTURE,
            role=self.role.without_policy_updates(),
            environment=dict(environment),
            memory_size=_MEMORY_MB,
            ephemeral_storage_size=Size.mebibytes(_DISK_MB),
            timeout=timeout,
            logging_format=lambda_.LoggingFormat.JSON,
            log_group=log_group,
            tenancy_config=lambda_.TenancyConfig.PER_TENANT,
        )
        Tags.of(self).add("santaclaude:service", service)
        acknowledge(self.function, Reason.SYNCHRONOUS, Reason.LOGS_ALONE)

    def _code(self, image: str) -> lambda_.DockerImageCode:
        if image == BUILT:
            return lambda_.DockerImageCode.from_image_asset(
                str(ROOT),
                file="images/browser/Dockerfile",
                platform=ecr_assets.Platform.LINUX_ARM64,
            )
        repository, _, version = image.partition("@" if "@" in image else ":")
        return lambda_.DockerImageCode.from_ecr(
            ecr.Repository.from_repository_name(self, "Repository", repository),
            tag_or_digest=version,
        )
