"""Consumers of the environment's bus: rule, queue, dead letters, and the function that works on
them.
"""

from collections.abc import Mapping, Sequence

from aws_cdk import Aws, Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from contracts.messaging.envelope import SOURCE_PREFIX, TARGET
from contracts.messaging.streams import MAX_RECEIVES
from infra.constructs.alarms import Alarm, Alarms
from infra.constructs.permissions import call_api, items, read_parameter
from infra.constructs.python_function import PythonFunction
from infra.constructs.service_table import ServiceTable
from infra.constructs.work_queue import WorkQueue, feed
from infra.security import Reason, acknowledge
from infra.settings import DeploySettings

LEASE_MARGIN_SECONDS = 60
"""How much longer a claim holds than the function may run: clocks of two processes may differ by
that."""

_HIDDEN_MARGIN_SECONDS = 30
_LATE_SECONDS = 15 * 60.0
_DEEP = 10_000.0
# With the function's share of the work, a batch is done within its time.
_BATCH_SIZE = 10


def lease_of(timeout: Duration) -> Duration:
    """How long a claim holds, for a function that may run that long."""
    return timeout.plus(Duration.seconds(LEASE_MARGIN_SECONDS))


class EventQueue(Construct):
    """The queue `name` with the bus's events of some types, for the consumer `consumer`.

    `types` are the events' types; None stands for all but those in `but`. Events that were sent
    again to one consumer come if they are for this one; those out of the archive if `replays`. What
    the bus could not deliver, and what was received too often, lies in `<name>-dlq`, which feeds
    the same function. `timeout` is that function's.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        consumer: str,
        types: Sequence[str] | None,
        bus: str,
        timeout: Duration,
        but: Sequence[str] = (),
        replays: bool = False,
    ) -> None:
        super().__init__(scope, construct_id)
        self.name = name
        # A killed process's claim is over before its message comes again.
        hidden = lease_of(timeout).plus(Duration.seconds(_HIDDEN_MARGIN_SECONDS))
        self._work = WorkQueue(
            self,
            "Work",
            name=name,
            hidden=hidden,
            receives=MAX_RECEIVES,
            dead_letters_hidden=hidden,
        )
        self.queue = self._work.queue
        self.dead_letters = self._work.dead_letters
        rule = events.CfnRule(
            self,
            "Rule",
            name=name,
            event_bus_name=bus,
            description=f"Events for {consumer}",
            event_pattern=_pattern(consumer, types, but, replays=replays),
            targets=[
                events.CfnRule.TargetProperty(
                    id="Queue",
                    arn=self.queue.queue_arn,
                    dead_letter_config=events.CfnRule.DeadLetterConfigProperty(
                        arn=self.dead_letters.queue.queue_arn
                    ),
                )
            ],
        )
        for queue in (self.queue, self.dead_letters.queue):
            queue.add_to_resource_policy(_from_rule(queue, rule))

    def feed(
        self,
        function: PythonFunction,
        *,
        batch_size: int = _BATCH_SIZE,
        concurrency: int | None = None,
    ) -> None:
        """Have the function work on the queue and on its dead letters."""
        for queue, kind in ((self.queue, "Work"), (self.dead_letters.queue, "Dead")):
            feed(
                self,
                queue,
                function,
                sid=f"Receive{self.node.id}{kind}",
                mapping_id=f"{kind}Mapping",
                batch_size=batch_size,
                concurrency=concurrency,
            )

    def alarms(self, name: str) -> list[Alarm]:
        """Of the queue's age and depth, and of its dead letters; their names begin with `name`."""
        dead = {"QueueName": self.dead_letters.name}
        waiting = {"QueueName": self.name}
        return [
            Alarm(
                name=f"{name}-late",
                says=f"Events wait longer than a quarter of an hour in {self.name}.",
                namespace="AWS/SQS",
                metric="ApproximateAgeOfOldestMessage",
                dimensions=waiting,
                above=_LATE_SECONDS,
                minutes=5,
            ),
            Alarm(
                name=f"{name}-deep",
                says=f"Events come faster into {self.name} than they are worked on.",
                namespace="AWS/SQS",
                metric="ApproximateNumberOfMessagesVisible",
                dimensions=waiting,
                above=_DEEP,
                minutes=5,
                periods=3,
            ),
            Alarm(
                # They do not stay there: the function reports them.
                name=f"{name}-dead-letters",
                says=f"Events were given up: see the dead letters that came through {self.name}.",
                namespace="AWS/SQS",
                metric="NumberOfMessagesReceived",
                dimensions=dead,
                statistic="Sum",
                above=0,
                minutes=5,
            ),
            Alarm(
                name=f"{name}-dead-letters-stuck",
                says=f"Dead letters in {self.dead_letters.name} cannot be reported.",
                namespace="AWS/SQS",
                metric="ApproximateNumberOfMessagesVisible",
                dimensions=dead,
                above=0,
                minutes=5,
                periods=6,
            ),
        ]


class EventConsumer(Construct):
    """A consumer of another service: `<service>-<name>`, in the service's own stack.

    The service makes a function of its own with `environment` (servicekit's
    `consumer_settings.ConsumerSettings`), which runs `servicekit.consumer.EventConsumer`, and then
    has it fed: `feed` gives the function its rights to its claims in the service's table, to its
    queues, and to the one route by which it reports to the message service.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        service: str,
        name: str,
        types: Sequence[str],
        timeout: Duration,
        settings: DeploySettings,
        replays: bool = False,
    ) -> None:
        super().__init__(scope, construct_id)
        self._service = service
        self._settings = settings
        self.consumer = f"{service}-{name}"
        self.events = EventQueue(
            self,
            "Events",
            name=f"{settings.prefix}-{self.consumer}-events",
            consumer=self.consumer,
            types=types,
            bus=settings.event_bus,
            timeout=timeout,
            replays=replays,
        )
        self._address = settings.parameter("messaging", "api-url")
        self.environment: Mapping[str, str] = {
            "CONSUMER_NAME": self.consumer,
            "CONSUMER_QUEUE_URL": self.events.queue.queue_url,
            "CONSUMER_LEASE_SECONDS": str(int(lease_of(timeout).to_seconds())),
            "CONSUMER_CLAIM_DAYS": str(settings.event_retention_days),
            "MESSAGING_URL_PARAMETER": self._address,
        }
        Alarms(
            self,
            "Alarms",
            prefix=settings.prefix,
            topic_name=settings.alarm_topic,
            alarms=self.events.alarms(self.consumer),
        )

    def feed(self, function: PythonFunction, table: ServiceTable) -> None:
        """Have the function consume; it keeps its claims in the table."""
        for statement in (
            items(
                "Claims",
                table.table,
                ("GetItem", "UpdateItem"),
                partitions=[f"CLAIM#{self.consumer}"],
            ),
            read_parameter("MessageService", self._address),
            call_api("Deliveries", "POST/api/v1/deliveries"),
        ):
            function.role.add_to_policy(statement)
        acknowledge(function.role, Reason.EVENTS_API)
        self.events.feed(function, concurrency=self._settings.consumers_at_once)


def _pattern(
    consumer: str, types: Sequence[str] | None, but: Sequence[str], *, replays: bool
) -> Mapping[str, object]:
    pattern: dict[str, object] = {
        "source": [{"prefix": SOURCE_PREFIX}],
        "detail-type": list(types) if types is not None else [{"anything-but": list(but)}],
        "detail": {"$or": [{TARGET: [{"exists": False}]}, {TARGET: [consumer]}]},
    }
    if not replays:
        pattern["replay-name"] = [{"exists": False}]
    return pattern


def _from_rule(queue: sqs.IQueue, rule: events.CfnRule) -> iam.PolicyStatement:
    return iam.PolicyStatement(
        sid="FromRule",
        principals=[iam.ServicePrincipal("events.amazonaws.com")],
        actions=["sqs:SendMessage"],
        resources=[queue.queue_arn],
        conditions={
            "ArnEquals": {"aws:SourceArn": rule.attr_arn},
            "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
        },
    )
