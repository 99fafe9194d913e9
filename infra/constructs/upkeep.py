"""What a service looks after though nobody asks for it."""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.constructs.alarms import Alarm, Alarms
from infra.constructs.python_function import FunctionDefaults, PythonFunction
from infra.constructs.schedule import Schedule
from infra.security import Reason
from infra.settings import DeploySettings

_MINUTES = 15


class Upkeep(Construct):
    """The function `<prefix>-upkeep`, which runs every 15 minutes, and an alarm that tells of runs
    that fail or do not come. The function fails a run by raising.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        prefix: str,
        service: str,
        defaults: FunctionDefaults,
        environment: Mapping[str, str],
        permissions: Sequence[iam.PolicyStatement],
        settings: DeploySettings,
    ) -> None:
        super().__init__(scope, construct_id)
        self.function = PythonFunction(
            self,
            "Function",
            name=f"{prefix}-upkeep",
            handler=f"functions.{service}.entrypoints.upkeep.handler",
            defaults=defaults,
            environment=environment,
            memory_mb=512,
            # It begins nothing new after 200 s, and ends what it began.
            timeout=Duration.minutes(5),
            permissions=permissions,
            failures=Reason.SCHEDULED,
        )
        Schedule(self, "Schedule", function=self.function, minutes=_MINUTES)
        Alarms(
            self,
            "Alarms",
            prefix=prefix,
            topic_name=settings.alarm_topic,
            alarms=[
                Alarm(
                    name="upkeep-failed",
                    says="The upkeep fails again and again, or does not run: see its log.",
                    namespace="AWS/Lambda",
                    metric="Errors",
                    dimensions={"FunctionName": self.function.name},
                    above=0,
                    minutes=_MINUTES,
                    periods=3,
                    silence_alarms=True,
                )
            ],
        )
