"""What brings a service's audit records from its table to the audit sink."""

from collections.abc import Mapping

from aws_cdk import Duration, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.alarms import Alarm, Alarms
from infra.constructs.permissions import call_api, items, metrics, read_parameter
from infra.constructs.python_function import FunctionDefaults, PythonFunction
from infra.constructs.schedule import Schedule
from infra.constructs.service_table import ServiceTable
from infra.constructs.stream_consumer import readable_stream
from infra.security import Reason, acknowledge
from infra.settings import DeploySettings

_SWEEP_MINUTES = 5
_OUTBOX = "AUDITOUT#"
_LATE_SECONDS = 15 * 60.0


class AuditOutbox(Construct):
    """The function `<service>-audit`, called by the table's stream and by a schedule.

    The stream brings records as they are written. A batch that was not delivered comes twice more,
    then the stream goes on without it: the record stays in the table, and the schedule's sweep
    sends it. `environment` is what every function of the service reads.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        service: str,
        table: ServiceTable,
        defaults: FunctionDefaults,
        environment: Mapping[str, str],
        settings: DeploySettings,
    ) -> None:
        super().__init__(scope, construct_id)
        address = settings.parameter("audit", "api-url")
        namespace = f"Santaclaude/{settings.environment}/{service}"
        self.function = PythonFunction(
            self,
            "Function",
            name=f"{settings.prefix}-{service}-audit",
            handler=f"functions.{service}.entrypoints.audit.handler",
            defaults=defaults,
            environment={**environment, "AUDIT_URL_PARAMETER": address},
            memory_mb=512,
            # A sweep begins its last call after 45 s, and a call takes 30 s at most.
            timeout=Duration.seconds(90),
            permissions=[
                items(
                    "Outbox",
                    table.table,
                    ("Query", "UpdateItem", "DeleteItem", "BatchWriteItem"),
                    partitions=[f"{_OUTBOX}{service}:*"],
                ),
                read_parameter("Address", address),
                call_api("AuditSink", "POST/api/v1/events/batch"),
                metrics(namespace, bound=settings.request_details),
            ],
            failures=Reason.SWEPT,
        )
        acknowledge(self.function.role, Reason.EVENTS_API)
        mapping = lambda_.EventSourceMapping(
            self,
            "Stream",
            target=self.function.alias,
            event_source_arn=readable_stream(table, self.function),
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            filters=[{"pattern": Stack.of(self).to_json_string(_written())}],
            batch_size=100,
            max_batching_window=Duration.seconds(1),
            retry_attempts=2,
            max_record_age=Duration.minutes(5),
        )
        acknowledge(mapping, Reason.SWEPT)
        Schedule(self, "Sweep", function=self.function, minutes=_SWEEP_MINUTES)
        Alarms(
            self,
            "Alarms",
            prefix=f"{settings.prefix}-{service}",
            topic_name=settings.alarm_topic,
            alarms=[
                Alarm(
                    name="audit-late",
                    says="Audit records wait in the outbox, or nobody looks after it.",
                    namespace=namespace,
                    metric="AuditOutboxOldestSeconds",
                    above=_LATE_SECONDS,
                    minutes=_SWEEP_MINUTES,
                    periods=3,
                    silence_alarms=True,
                ),
                Alarm(
                    name="audit-refused",
                    says="The audit sink will never take a record as it is: see the outbox.",
                    namespace=namespace,
                    metric="AuditOutboxRefused",
                    above=0,
                    minutes=_SWEEP_MINUTES,
                ),
            ],
        )


def _written() -> dict[str, object]:
    """Items that were written to the outbox, and nothing else of the table."""
    return {
        "eventName": ["INSERT"],
        "dynamodb": {"Keys": {"pk": {"S": [{"prefix": _OUTBOX}]}}},
    }
