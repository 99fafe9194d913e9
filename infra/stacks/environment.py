"""What every stack of an environment has in common."""

from aws_cdk import CliCredentialsStackSynthesizer, Stack
from constructs import Construct

from infra.settings import DeploySettings


class EnvironmentStack(Stack):
    """Named, tagged and deployed as the environment's settings say."""

    def __init__(self, scope: Construct, name: str, *, settings: DeploySettings) -> None:
        super().__init__(
            scope,
            f"{settings.prefix}-{name}",
            synthesizer=None if settings.bootstrap_roles else CliCredentialsStackSynthesizer(),
            tags={"santaclaude:environment": settings.environment},
        )
