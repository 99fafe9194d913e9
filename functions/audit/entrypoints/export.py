"""Lambda handler of the export queue: each message's bundle is made, or the message goes back."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.batch import (
    AsyncBatchProcessor,
    EventType,
    async_process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from functions.audit.bootstrap import exporter_from_environment
from functions.audit.routes.queue import export_task

dependencies = exporter_from_environment()
processor = AsyncBatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)


async def _make(record: SQSRecord) -> None:
    task = export_task(record.raw_event)
    await dependencies.service.run(task.export_id, last_try=task.last_try)


def handler(event: dict[str, Any], context: Any) -> Any:
    """Names the messages that are to be given again."""
    return async_process_partial_response(
        event=event, record_handler=_make, processor=processor, context=context
    )
