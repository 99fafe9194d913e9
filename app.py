"""The CDK app: settings of one environment, its stacks, the rules they are checked against."""

import aws_cdk as cdk

from infra import security, settings
from infra.stacks.ai import AiStack
from infra.stacks.audit import AuditStack
from infra.stacks.browser import BrowserStack
from infra.stacks.foundation import FoundationStack
from infra.stacks.messaging import MessagingStack

app = cdk.App()
try:
    environment = settings.load(app.node.try_get_context)
except settings.InvalidSettingError as error:
    raise SystemExit(f"error: {error}") from None

FoundationStack(app, "foundation", settings=environment)
AiStack(app, "ai", settings=environment)
AuditStack(app, "audit", settings=environment)
if environment.has_browser:
    BrowserStack(app, "browser", settings=environment)
MessagingStack(app, "messaging", settings=environment)
security.check(app)
app.synth()
