"""Queues: of work for one function, and of what failed."""

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.constructs.python_function import PythonFunction
from infra.security import Reason, acknowledge

_RECEIVES = 3


class FailureQueue(Construct):
    """Where failures are kept for 14 days, as long as SQS keeps anything, for a person to see, or
    for a function whose business a message is for `hidden`.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        hidden: Duration | None = None,
        fifo: bool = False,
    ) -> None:
        super().__init__(scope, construct_id)
        self.name = _name(name, fifo=fifo)
        self.queue = sqs.Queue(
            self,
            "Queue",
            queue_name=self.name,
            fifo=True if fifo else None,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
            visibility_timeout=hidden,
        )
        acknowledge(self.queue, Reason.NO_DEAD_LETTERS)


class WorkQueue(Construct):
    """Messages for one function; one that failed `receives` times goes to `<name>-dlq`.

    `hidden` is how long a message is the business of the function that got it: longer than that
    function's timeout. A `fifo` queue's name, and that of its dead letters, ends in `.fifo`.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        hidden: Duration,
        receives: int = _RECEIVES,
        dead_letters_hidden: Duration | None = None,
        fifo: bool = False,
    ) -> None:
        super().__init__(scope, construct_id)
        self.dead_letters = FailureQueue(
            self, "DeadLetters", name=f"{name}-dlq", hidden=dead_letters_hidden, fifo=fifo
        )
        self.queue = sqs.Queue(
            self,
            "Queue",
            queue_name=_name(name, fifo=fifo),
            fifo=True if fifo else None,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(4),
            visibility_timeout=hidden,
            dead_letter_queue=sqs.DeadLetterQueue(
                queue=self.dead_letters.queue, max_receive_count=receives
            ),
        )

    def feed(
        self,
        function: PythonFunction,
        *,
        batch_size: int,
        window: Duration | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Have the function work on it; it answers which messages of a batch failed."""
        feed(
            self,
            self.queue,
            function,
            sid=f"Receive{self.node.id}",
            batch_size=batch_size,
            window=window,
            concurrency=concurrency,
        )


def feed(
    scope: Construct,
    queue: sqs.IQueue,
    function: PythonFunction,
    *,
    sid: str,
    batch_size: int,
    mapping_id: str = "Mapping",
    window: Duration | None = None,
    concurrency: int | None = None,
) -> None:
    """Have the function work on a queue: it may work on several."""
    function.role.add_to_policy(
        iam.PolicyStatement(
            sid=sid,
            actions=[
                "sqs:ChangeMessageVisibility",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:ReceiveMessage",
            ],
            resources=[queue.queue_arn],
        )
    )
    mapping = lambda_.EventSourceMapping(
        scope,
        mapping_id,
        target=function.alias,
        event_source_arn=queue.queue_arn,
        batch_size=batch_size,
        max_batching_window=window,
        max_concurrency=concurrency,
        report_batch_item_failures=True,
    )
    acknowledge(mapping, Reason.QUEUED)


def _name(name: str, *, fifo: bool) -> str:
    return f"{name}.fifo" if fifo else name
