"""Lambda handler of the jobs' queues: each message's job is done, or the message goes back."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.batch import (
    AsyncBatchProcessor,
    EventType,
    async_process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from functions.ai.bootstrap import worker_from_environment
from functions.ai.routes.job_queue import work

dependencies = worker_from_environment()
processor = AsyncBatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)


async def _work(record: SQSRecord) -> None:
    await work(dependencies, record.raw_event)


def handler(event: dict[str, Any], context: Any) -> Any:
    """Names the messages that are to be given again."""
    return async_process_partial_response(
        event=event, record_handler=_work, processor=processor, context=context
    )
