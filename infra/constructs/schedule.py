"""A function that is called again and again."""

from aws_cdk import Aws, Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from constructs import Construct

from infra.constructs.permissions import invoke
from infra.constructs.python_function import PythonFunction
from infra.security import Reason, acknowledge


class Schedule(Construct):
    """Calls the function every `minutes`, under a role that may do nothing else.

    A call that failed is not repeated: the next one does what was left.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, function: PythonFunction, minutes: int
    ) -> None:
        super().__init__(scope, construct_id)
        name = f"{function.name}-schedule"
        role = iam.Role(
            self,
            "Role",
            role_name=name,
            assumed_by=iam.ServicePrincipal(
                "scheduler.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            ),
        )
        role.add_to_policy(invoke("Call", function.alias))
        function.alias.configure_async_invoke(
            retry_attempts=0, max_event_age=Duration.minutes(minutes)
        )
        acknowledge(function.alias, Reason.SCHEDULED)
        schedule = scheduler.CfnSchedule(
            self,
            "Schedule",
            name=name,
            schedule_expression=f"rate({minutes} {'minute' if minutes == 1 else 'minutes'})",
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=scheduler.CfnSchedule.TargetProperty(
                arn=function.alias.function_arn,
                role_arn=role.role_arn,
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    maximum_event_age_in_seconds=60 * minutes, maximum_retry_attempts=0
                ),
            ),
        )
        schedule.node.add_dependency(role)
