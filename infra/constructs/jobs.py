"""The AI service's jobs: from its table to two queues, and from those to the worker."""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.constructs.alarms import Alarm, Alarms
from infra.constructs.permissions import call_api, read_parameter, send
from infra.constructs.python_function import FunctionDefaults, PythonFunction
from infra.constructs.service_table import ServiceTable
from infra.constructs.stream_consumer import StreamConsumer
from infra.constructs.work_queue import FailureQueue, WorkQueue
from infra.security import Reason, acknowledge
from infra.settings import DeploySettings

_RECEIVES = 5
_TIMEOUT = Duration.minutes(15)
# Of a message whose worker says nothing of it; the worker shortens it while it lives.
_HIDDEN = Duration.minutes(16)
_LATE_SECONDS = 3600.0


class Jobs(Construct):
    """The functions `<prefix>-dispatch` and `<prefix>-worker`, and the queues
    `<prefix>-jobs-high` and `-normal` between them.

    Each queue has a concurrency of its own: however many normal jobs wait, high ones find workers.
    A worker takes one job at a time: a message is gone as soon as its job is done, and a killed
    worker takes no other job along.
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
        worker_environment: Mapping[str, str],
        worker_permissions: Sequence[iam.PolicyStatement],
        settings: DeploySettings,
    ) -> None:
        super().__init__(scope, construct_id)
        self._queues = {
            priority: WorkQueue(
                self,
                priority.title(),
                name=f"{prefix}-jobs-{priority}",
                hidden=_HIDDEN,
                receives=_RECEIVES,
            )
            for priority in ("high", "normal")
        }
        high, normal = self._queues.values()
        self.urls = urls = {
            "HIGH_QUEUE_URL": high.queue.queue_url,
            "NORMAL_QUEUE_URL": normal.queue.queue_url,
        }
        address = settings.parameter("messaging", "api-url")
        told = {"MESSAGING_URL_PARAMETER": address}
        telling = [
            read_parameter("Address", address),
            call_api("Progress", "POST/api/v1/progress/batch"),
        ]
        self.worker = PythonFunction(
            self,
            "Worker",
            name=f"{prefix}-worker",
            handler="functions.ai.entrypoints.worker.handler",
            defaults=defaults,
            environment={
                **worker_environment,
                **urls,
                **told,
                "MAX_RECEIVES": str(_RECEIVES),
            },
            memory_mb=884,
            timeout=_TIMEOUT,
            permissions=[*worker_permissions, *telling],
            failures=Reason.QUEUED,
        )
        high.feed(self.worker, batch_size=1, concurrency=settings.high_jobs_at_once)
        normal.feed(self.worker, batch_size=1, concurrency=settings.normal_jobs_at_once)
        dispatch = PythonFunction(
            self,
            "Dispatch",
            name=f"{prefix}-dispatch",
            handler="functions.ai.entrypoints.dispatch.handler",
            defaults=defaults,
            environment={**base_environment, **urls, **told},
            memory_mb=512,
            timeout=Duration.seconds(60),
            permissions=[
                *self.sending(settings),
                *telling,
                call_api("Events", "POST/api/v1/events/batch"),
            ],
            failures=Reason.STREAMED_FROM_TABLE,
        )
        for function in (self.worker, dispatch):
            acknowledge(function.role, Reason.EVENTS_API)
        changes = StreamConsumer(
            self,
            "Changes",
            table=table,
            function=dispatch,
            filters=[*_job_changes(), _summary_due()],
            batch_size=100,
        )
        Alarms(
            self,
            "Alarms",
            prefix=prefix,
            topic_name=settings.alarm_topic,
            alarms=[
                _left("jobs-high-dlq", high.dead_letters),
                _left("jobs-normal-dlq", normal.dead_letters),
                _left("dispatch-failures", changes.failures),
                *(
                    Alarm(
                        name=f"jobs-{priority}-late",
                        says="Jobs wait longer than an hour: they come faster than they are done.",
                        namespace="AWS/SQS",
                        metric="ApproximateAgeOfOldestMessage",
                        dimensions={"QueueName": f"{prefix}-jobs-{priority}"},
                        above=_LATE_SECONDS,
                        minutes=5,
                    )
                    for priority in ("high", "normal")
                ),
            ],
        )

    def sending(self, settings: DeploySettings) -> list[iam.PolicyStatement]:
        """Sending to both queues."""
        return [
            send(f"Send{priority.title()}", queue.queue, settings.batch_send_action)
            for priority, queue in self._queues.items()
        ]


def _job_changes() -> list[dict[str, object]]:
    """New jobs, and jobs of another status than before: leases are renewed all the time."""
    queued, ended = {"queued"}, {"completed", "failed", "cancelled"}
    after = {
        "queued": {"running", *ended},
        "running": {"queued", *ended},
        "failed": {"running"},
    }
    changes: list[dict[str, object]] = [_pattern("INSERT", NewImage=_job(queued))]
    changes += [
        _pattern("MODIFY", OldImage={"status": {"S": [before]}}, NewImage=_job(statuses))
        for before, statuses in after.items()
    ]
    return changes


def _summary_due() -> dict[str, object]:
    """Turns that completed and left a summary to be made."""
    due = {"status": {"S": ["completed"]}, "summary": {"S": ["due"]}}
    return _pattern("MODIFY", OldImage={"status": {"S": ["running"]}}, NewImage=due)


def _pattern(name: str, **images: object) -> dict[str, object]:
    turns = {"pk": {"S": [{"prefix": "TURN#"}]}, "sk": {"S": ["TURN"]}}
    return {"eventName": [name], "dynamodb": {"Keys": turns, **images}}


def _job(statuses: set[str]) -> dict[str, object]:
    return {"priority": {"S": ["high", "normal"]}, "status": {"S": sorted(statuses)}}


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
