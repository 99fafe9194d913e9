"""Messages of the jobs' queues, as Lambda gets them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from functions.ai.domain.dependencies import Worker
from functions.ai.domain.job_ports import Delivery, JobMessage
from functions.ai.domain.job_worker import JobUnfinishedError
from servicekit.context import (
    RequestContext,
    choose_request_id,
    continue_trace,
    enter_context,
)

_logger = logging.getLogger(__name__)


async def work(worker: Worker, record: Mapping[str, Any]) -> None:
    """Works on one message, as part of the request that made its job. Raises whatever failed: then
    the message comes again.
    """
    delivery = delivery_from(record)
    try:
        message = message_from(record)
        request_id = choose_request_id(message.request_id, None)
        enter_context(RequestContext(request_id, continue_trace(message.traceparent)))
        await worker.service.work(message, delivery)
    except JobUnfinishedError:
        raise
    except Exception:
        _logger.exception("message not done", extra={"message_id": record.get("messageId")})
        await worker.service.put_back(delivery)
        raise


def delivery_from(record: Mapping[str, Any]) -> Delivery:
    """Under what the message came."""
    return Delivery(
        queue=str(record["eventSourceARN"]).rpartition(":")[2],
        receipt=str(record["receiptHandle"]),
        receives=int(record["attributes"]["ApproximateReceiveCount"]),
    )


def message_from(record: Mapping[str, Any]) -> JobMessage:
    """The job's message. Raises `ValueError`, `TypeError` or `KeyError` on any other."""
    body = json.loads(record["body"])
    return JobMessage(
        str(body["turn_id"]),
        body.get("request_id"),
        body.get("traceparent"),
        # A message of earlier days does not say.
        "summary" if body.get("task") == "summary" else "turn",
    )
