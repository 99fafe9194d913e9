"""Alarms, each of which tells the environment's topic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aws_cdk import Aws, Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Raised while a metric is above a bound for `periods` of `minutes` each, one after another.

    `says` is what the person who gets it reads. Without data there is no alarm, unless
    `silence_alarms`. That it is over is told too, unless it is `final`: what must never happen is
    not undone by not happening again.
    """

    name: str
    says: str
    namespace: str
    metric: str
    above: float
    dimensions: Mapping[str, str] = field(default_factory=dict)
    statistic: str = "Maximum"
    minutes: int = 1
    periods: int = 1
    silence_alarms: bool = False
    final: bool = False


class Alarms(Construct):
    """The alarms of one service; their names begin with `prefix`."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        prefix: str,
        topic_name: str,
        alarms: Sequence[Alarm],
    ) -> None:
        super().__init__(scope, construct_id)
        arn = f"arn:{Aws.PARTITION}:sns:{Aws.REGION}:{Aws.ACCOUNT_ID}:{topic_name}"
        action = actions.SnsAction(sns.Topic.from_topic_arn(self, "Topic", arn))
        for alarm in alarms:
            made = cloudwatch.Alarm(
                self,
                alarm.name.title().replace("-", ""),
                alarm_name=f"{prefix}-{alarm.name}",
                alarm_description=alarm.says,
                metric=cloudwatch.Metric(
                    namespace=alarm.namespace,
                    metric_name=alarm.metric,
                    dimensions_map=dict(alarm.dimensions) or None,
                    statistic=alarm.statistic,
                    period=Duration.minutes(alarm.minutes),
                ),
                threshold=alarm.above,
                comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
                evaluation_periods=alarm.periods,
                treat_missing_data=cloudwatch.TreatMissingData.BREACHING
                if alarm.silence_alarms
                else cloudwatch.TreatMissingData.NOT_BREACHING,
            )
            made.add_alarm_action(action)
            if not alarm.final:
                made.add_ok_action(action)
