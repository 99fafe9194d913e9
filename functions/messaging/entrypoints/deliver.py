"""Lambda handler of the webhook deliveries' queues: each message's delivery is attempted, or the
message comes again.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.batch import (
    AsyncBatchProcessor,
    EventType,
    async_process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from functions.messaging.bootstrap.webhooks import deliver_from_environment
from functions.messaging.routes.webhook_queue import deliver

dependencies = deliver_from_environment()
processor = AsyncBatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)


async def _deliver(record: SQSRecord) -> None:
    await deliver(dependencies, record.raw_event)


def handler(event: dict[str, Any], context: Any) -> Any:
    """Names the messages that are to be given again."""
    return async_process_partial_response(
        event=event, record_handler=_deliver, processor=processor, context=context
    )
