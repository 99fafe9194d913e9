"""The message service's streams: a queue for each, and one function for all of them."""

from collections.abc import Mapping

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from constructs import Construct

from contracts.messaging.streams import DEFAULT_STREAM, ROUTED_TYPES, STREAMS
from infra.constructs.alarms import Alarms
from infra.constructs.event_consumer import EventQueue, lease_of
from infra.constructs.messaging_webhooks import Webhooks
from infra.constructs.permissions import items
from infra.constructs.python_function import FunctionDefaults, PythonFunction
from infra.constructs.service_table import ServiceTable
from infra.security import Reason
from infra.settings import DeploySettings

_TIMEOUT = Duration.seconds(60)


class MessagingStreams(Construct):
    """Rules, queues `<prefix>-messaging-<stream>` and their `-dlq`, and the function
    `<prefix>-messaging-relay` behind them.

    `contracts.messaging.streams` says which type goes where, to this construct and to the code.
    `base_environment` is what every function of the service reads.
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
        self.queue_prefix = f"{prefix}-"
        self._queues = {
            stream: self._stream(stream, settings) for stream in (*STREAMS, DEFAULT_STREAM)
        }
        self.environment: Mapping[str, str] = {
            "STREAM_QUEUE_URL": self._queues[DEFAULT_STREAM].queue.queue_url,
            "STREAM_QUEUE_PREFIX": self.queue_prefix,
        }
        self.relay = PythonFunction(
            self,
            "Relay",
            name=f"{prefix}-relay",
            handler="functions.messaging.entrypoints.relay.handler",
            defaults=defaults,
            environment={
                **base_environment,
                **self.environment,
                **webhooks.queue_environment,
                "CLAIM_LEASE_SECONDS": str(int(lease_of(_TIMEOUT).to_seconds())),
            },
            memory_mb=512,
            timeout=_TIMEOUT,
            permissions=[
                items(
                    "Claims",
                    table.table,
                    ("GetItem", "UpdateItem"),
                    partitions=[f"CLAIM#{stream}" for stream in self._queues],
                ),
                *reporting(table),
                items("Replays", table.table, ("GetItem",), partitions=["REPLAYS"]),
                *webhooks.fanout(),
            ],
            failures=Reason.QUEUED,
        )
        for queue in self._queues.values():
            queue.feed(self.relay, concurrency=settings.consumers_at_once)
        Alarms(
            self,
            "Alarms",
            prefix=prefix,
            topic_name=settings.alarm_topic,
            alarms=[
                alarm for stream, queue in self._queues.items() for alarm in queue.alarms(stream)
            ],
        )

    def figures(self, sid: str) -> iam.PolicyStatement:
        """Reading how deep the queues are."""
        return iam.PolicyStatement(
            sid=sid,
            actions=["sqs:GetQueueAttributes"],
            resources=[
                arn
                for one in self._queues.values()
                for arn in (one.queue.queue_arn, one.dead_letters.queue.queue_arn)
            ],
        )

    def _stream(self, stream: str, settings: DeploySettings) -> EventQueue:
        return EventQueue(
            self,
            stream.title().replace("-", ""),
            name=f"{self.queue_prefix}{stream}",
            consumer=stream,
            types=STREAMS.get(stream),
            but=ROUTED_TYPES,
            bus=settings.event_bus,
            timeout=_TIMEOUT,
            replays=True,
        )


def reporting(table: ServiceTable) -> list[iam.PolicyStatement]:
    """What taking reports of attempts needs: lives of events, dead letters, known consumers."""
    return [
        items("Lives", table.table, ("BatchWriteItem", "GetItem"), partitions=["EVENT#*"]),
        items("DeadLetters", table.table, ("UpdateItem",), partitions=["DEAD#*"]),
        items("Consumers", table.table, ("BatchWriteItem",), partitions=["CONSUMERS"]),
    ]
