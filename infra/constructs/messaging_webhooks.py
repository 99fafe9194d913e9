"""Webhooks of the message service: two queues, the worker that posts, and the sweep."""

from collections.abc import Mapping

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.constructs.alarms import Alarm, Alarms
from infra.constructs.permissions import items, put_events, queries, send
from infra.constructs.python_function import FunctionDefaults, PythonFunction
from infra.constructs.schedule import Schedule
from infra.constructs.service_table import ServiceTable
from infra.constructs.work_queue import FailureQueue, WorkQueue
from infra.security import Reason
from infra.settings import DeploySettings

_EVENTS = "EVENT#*"
_SUBSCRIPTIONS = "SUBSCRIPTIONS"
_SECRETS = "SECRETS#*"
_ENDPOINTS = "ENDPOINT#*"
_ORDER = ("KEYLOG#*", "ORDER#*")
_AUDIT = ("AUDITSEQ#*", "AUDITOUT#*")
_TIMEOUT = Duration.seconds(90)
# Longer than the function's timeout; what a crash makes a message wait.
_HIDDEN = Duration.seconds(120)
_RECEIVES = 5
# A message of an ordered subscription comes again for each attempt of the event that it waits for,
# and whenever no slot is free. What is given up all the same, the sweep sends for again.
_ORDERED_RECEIVES = 100
_LATE_SECONDS = 1800.0


class Webhooks(Construct):
    """The functions `<prefix>-deliver` and `<prefix>-due`, and the queues `<prefix>-deliveries` and
    `<prefix>-deliveries.fifo`.

    Whoever fans events out, or redrives them, gets `queue_environment`, and the rights of `fanout`.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        prefix: str,
        table: ServiceTable,
        defaults: FunctionDefaults,
        environment: Mapping[str, str],
        settings: DeploySettings,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self._table = table
        self._plain = WorkQueue(
            self, "Plain", name=f"{prefix}-deliveries", hidden=_HIDDEN, receives=_RECEIVES
        )
        self._ordered = WorkQueue(
            self,
            "Ordered",
            name=f"{prefix}-deliveries",
            hidden=_HIDDEN,
            receives=_ORDERED_RECEIVES,
            fifo=True,
        )
        self.queue_environment = {
            "DELIVERIES_QUEUE_URL": self._plain.queue.queue_url,
            "ORDERED_DELIVERIES_QUEUE_URL": self._ordered.queue.queue_url,
        }
        self.deliver = PythonFunction(
            self,
            "Deliver",
            name=f"{prefix}-deliver",
            handler="functions.messaging.entrypoints.deliver.handler",
            defaults=defaults,
            environment={
                **environment,
                **self.queue_environment,
                "WEBHOOKS_ON_LOOPBACK": str(settings.webhooks_on_loopback).lower(),
                "WEBHOOK_FAILING_HOURS": str(settings.webhook_failing_hours),
                "WEBHOOK_FAILING_DEAD": str(settings.webhook_failing_dead),
                "EVENT_BUS": settings.event_bus,
            },
            memory_mb=884,
            timeout=_TIMEOUT,
            permissions=[
                items(
                    "Deliveries",
                    table.table,
                    ("BatchWriteItem", "GetItem", "PutItem", "Query", "UpdateItem"),
                    partitions=[_EVENTS, _SUBSCRIPTIONS, _ENDPOINTS, *_ORDER, *_AUDIT],
                ),
                items("DeadLetters", table.table, ("UpdateItem",), partitions=["DEAD#*"]),
                put_events("Bus", settings),
                items("Secrets", table.table, ("GetItem",), partitions=[_SECRETS]),
                *self.sending(),
            ],
            failures=Reason.QUEUED,
        )
        at_once = settings.webhook_workers_at_once
        self._plain.feed(self.deliver, batch_size=10, concurrency=at_once)
        # A message may take as long as the function: it works through the log of its key.
        self._ordered.feed(self.deliver, batch_size=1, concurrency=at_once)
        due = PythonFunction(
            self,
            "Due",
            name=f"{prefix}-due",
            handler="functions.messaging.entrypoints.due.handler",
            defaults=defaults,
            environment={
                **environment,
                **self.queue_environment,
                "EVENT_BUS": settings.event_bus,
            },
            memory_mb=512,
            timeout=Duration.seconds(59),
            permissions=[
                queries("Due", table, "gsi2"),
                items(
                    "Moved",
                    table.table,
                    ("GetItem", "PutItem", "UpdateItem"),
                    partitions=[_EVENTS, _SUBSCRIPTIONS],
                ),
                put_events("Bus", settings),
                *self.sending(),
            ],
            failures=Reason.SCHEDULED,
        )
        Schedule(self, "EachMinute", function=due, minutes=1)
        Alarms(
            self,
            "Alarms",
            prefix=prefix,
            topic_name=settings.alarm_topic,
            alarms=[
                _left("deliveries-dlq", self._plain.dead_letters),
                _left("deliveries-fifo-dlq", self._ordered.dead_letters),
                Alarm(
                    name="deliveries-late",
                    says="Webhook deliveries wait: they come faster than they are posted.",
                    namespace="AWS/SQS",
                    metric="ApproximateAgeOfOldestMessage",
                    dimensions={"QueueName": f"{prefix}-deliveries"},
                    above=_LATE_SECONDS,
                    minutes=5,
                ),
                Alarm(
                    name="due-failing",
                    says="What is due of webhook deliveries is not sent for.",
                    namespace="AWS/Lambda",
                    metric="Errors",
                    dimensions={"FunctionName": due.name},
                    above=0,
                    minutes=5,
                    periods=3,
                ),
            ],
        )

    def sending(self) -> list[iam.PolicyStatement]:
        """The right to send to both queues."""
        action = self._settings.batch_send_action
        return [
            send("SendDeliveries", self._plain.queue, action),
            send("SendOrderedDeliveries", self._ordered.queue, action),
        ]

    def fanout(self) -> list[iam.PolicyStatement]:
        """What a function needs that offers events to subscriptions: not their secrets."""
        return [
            items("Subscriptions", self._table.table, ("Query",), partitions=[_SUBSCRIPTIONS]),
            items("NewDeliveries", self._table.table, ("PutItem",), partitions=[_EVENTS]),
            *self.sending(),
        ]


def control_environment(settings: DeploySettings) -> dict[str, str]:
    """What the function of the calls about subscriptions reads."""
    return {
        "IDEMPOTENCY_WINDOW_SECONDS": str(settings.idempotency_window_seconds),
        "WEBHOOKS_ON_LOOPBACK": str(settings.webhooks_on_loopback).lower(),
    }


def control_permissions(table: ServiceTable) -> list[iam.PolicyStatement]:
    """What the calls about subscriptions need."""
    return [
        items(
            "Webhooks",
            table.table,
            ("DeleteItem", "GetItem", "PutItem", "Query", "UpdateItem"),
            partitions=[_SUBSCRIPTIONS, _SECRETS, _ENDPOINTS, "IDEMPOTENCY#*", *_AUDIT],
        ),
        items("Attempts", table.table, ("BatchGetItem",), partitions=[_EVENTS]),
        queries("Deliveries", table, "gsi1"),
    ]


def _left(name: str, queue: FailureQueue) -> Alarm:
    return Alarm(
        name=name,
        says=f"Something failed for good and lies in {queue.name}.",
        namespace="AWS/SQS",
        metric="ApproximateNumberOfMessagesVisible",
        dimensions={"QueueName": queue.name},
        above=0,
        minutes=5,
    )
