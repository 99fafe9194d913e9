"""Lambda handler of the intake queue: each message is recorded, or goes back, by itself."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.batch import (
    AsyncBatchProcessor,
    EventType,
    async_process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from functions.audit.bootstrap import intake_from_environment
from functions.audit.routes.intake import take

dependencies = intake_from_environment()
processor = AsyncBatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)


async def _take(record: SQSRecord) -> None:
    await take(dependencies, record.message_id, record.body)


def handler(event: dict[str, Any], context: Any) -> Any:
    """Names the messages that are to be given again."""
    return async_process_partial_response(
        event=event, record_handler=_take, processor=processor, context=context
    )
