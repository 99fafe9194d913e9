"""What brings to the bus those events that were accepted and left behind."""

from collections.abc import Mapping

from aws_cdk import Duration
from constructs import Construct

from infra.constructs.alarms import Alarm, Alarms
from infra.constructs.permissions import items, metrics, put_events, queries
from infra.constructs.python_function import FunctionDefaults, PythonFunction
from infra.constructs.schedule import Schedule
from infra.constructs.service_table import ServiceTable
from infra.security import Reason
from infra.settings import DeploySettings

_MINUTES = 1
_LATE_SECONDS = 5 * 60.0


class MessagingSweep(Construct):
    """The function `<prefix>-messaging-sweep`, called each minute.

    `environment` is what every function of the service reads. The alarm also tells that nobody
    sweeps.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        table: ServiceTable,
        defaults: FunctionDefaults,
        environment: Mapping[str, str],
        settings: DeploySettings,
    ) -> None:
        super().__init__(scope, construct_id)
        prefix = f"{settings.prefix}-messaging"
        namespace = f"Santaclaude/{settings.environment}/messaging"
        function = PythonFunction(
            self,
            "Function",
            name=f"{prefix}-sweep",
            handler="functions.messaging.entrypoints.sweep.handler",
            defaults=defaults,
            environment={
                **environment,
                "EVENT_BUS": settings.event_bus,
                "SWEEP_AFTER_SECONDS": str(settings.event_sweep_after_seconds),
                "SWEEP_EVENTS_PER_SECOND": str(settings.event_sweep_rate),
            },
            memory_mb=512,
            # It begins its last page after 30 s; the bus is asked for 15 s at most.
            timeout=Duration.seconds(90),
            permissions=[
                queries("Unpublished", table, "gsi2"),
                items("Events", table.table, ("UpdateItem",), partitions=["EVENT#*"]),
                put_events("Bus", settings),
                metrics(namespace, bound=settings.request_details),
            ],
            failures=Reason.SWEPT,
        )
        Schedule(self, "Schedule", function=function, minutes=_MINUTES)
        Alarms(
            self,
            "Alarms",
            prefix=prefix,
            topic_name=settings.alarm_topic,
            alarms=[
                Alarm(
                    name="unpublished",
                    says="Events that were accepted do not get onto the bus, or nobody sweeps.",
                    namespace=namespace,
                    metric="EventsUnpublishedOldestSeconds",
                    above=_LATE_SECONDS,
                    minutes=_MINUTES,
                    periods=5,
                    silence_alarms=True,
                )
            ],
        )
