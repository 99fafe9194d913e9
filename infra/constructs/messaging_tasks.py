"""What the message service does later: the queue of tasks and its function."""

from collections.abc import Mapping

from aws_cdk import Duration
from constructs import Construct

from infra.constructs.alarms import Alarm, Alarms
from infra.constructs.messaging_webhooks import Webhooks
from infra.constructs.permissions import items, put_events, send
from infra.constructs.python_function import FunctionDefaults, PythonFunction
from infra.constructs.service_table import ServiceTable
from infra.constructs.work_queue import WorkQueue
from infra.security import Reason
from infra.settings import DeploySettings

_TIMEOUT = Duration.minutes(5)
_HIDDEN = Duration.minutes(6)
# A redrive goes on after each kill; one that always kills its function is a person's business.
_RECEIVES = 5


class MessagingTasks(Construct):
    """The function `<prefix>-messaging-tasks`: one task at a time, which queues itself again before
    the function's time is up.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        prefix: str,
        table: ServiceTable,
        defaults: FunctionDefaults,
        base_environment: Mapping[str, str],
        webhooks: Webhooks,
        settings: DeploySettings,
    ) -> None:
        super().__init__(scope, construct_id)
        tasks = WorkQueue(self, "Queue", name=f"{prefix}-tasks", hidden=_HIDDEN, receives=_RECEIVES)
        self.queue = tasks.queue
        self.environment: Mapping[str, str] = {"TASKS_QUEUE_URL": self.queue.queue_url}
        function = PythonFunction(
            self,
            "Function",
            name=f"{prefix}-tasks",
            handler="functions.messaging.entrypoints.tasks.handler",
            defaults=defaults,
            environment={
                **base_environment,
                **self.environment,
                **webhooks.queue_environment,
                "EVENT_BUS": settings.event_bus,
            },
            memory_mb=512,
            timeout=_TIMEOUT,
            permissions=[
                items("Redrives", table.table, ("UpdateItem",), partitions=["REDRIVES"]),
                items("DeadLetters", table.table, ("Query", "UpdateItem"), partitions=["DEAD#*"]),
                items(
                    "Lives",
                    table.table,
                    ("BatchWriteItem", "GetItem", "Query", "UpdateItem"),
                    partitions=["EVENT#*"],
                ),
                put_events("Bus", settings),
                send("Again", self.queue),
                *webhooks.sending(),
            ],
            failures=Reason.QUEUED,
        )
        tasks.feed(function, batch_size=1, concurrency=settings.consumers_at_once)
        Alarms(
            self,
            "Alarms",
            prefix=prefix,
            topic_name=settings.alarm_topic,
            alarms=[
                Alarm(
                    name="tasks-dlq",
                    says=f"A redrive does not go on: its task lies in {tasks.dead_letters.name}.",
                    namespace="AWS/SQS",
                    metric="ApproximateNumberOfMessagesVisible",
                    dimensions={"QueueName": tasks.dead_letters.name},
                    above=0,
                    minutes=5,
                ),
            ],
        )
