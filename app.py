"""The CDK app: settings of one environment, its stacks, the rules they are checked against."""

import aws_cdk as cdk

from infra import security, settings
from infra.stacks.ai import AiStack
from infra.stacks.foundation import FoundationStack

app = cdk.App()
environment = settings.load(app.node.try_get_context)

stacks = {
    "foundation": FoundationStack,
    "ai": AiStack,
}
for name, stack in stacks.items():
    stack(
        app,
        f"{environment.prefix}-{name}",
        settings=environment,
        synthesizer=None if environment.bootstrap_roles else cdk.CliCredentialsStackSynthesizer(),
        tags={"santaclaude:environment": environment.environment},
    )
security.check(app)
app.synth()
