"""Messages of the deliveries' queues, as Lambda gets them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from functions.messaging.domain.dependencies import Deliver
from functions.messaging.domain.webhook_deliveries import DeliveryKey
from functions.messaging.domain.webhook_order import KeyBlockedError
from functions.messaging.domain.webhook_ports import OrderedMessage

_ORDERED = ".fifo"
_logger = logging.getLogger(__name__)


async def deliver(dependencies: Deliver, record: Mapping[str, Any]) -> None:
    """Works on one message. Raises whatever failed: then the message comes again."""
    try:
        body = json.loads(record["body"])
        if str(record["eventSourceARN"]).endswith(_ORDERED):
            message = OrderedMessage(
                str(body["subscription_id"]), str(body["ordering_key"]), str(body["event_id"])
            )
            holder = dependencies.holder(str(record["receiptHandle"]))
            await dependencies.ordered.work(message, holder)
        else:
            key = DeliveryKey(
                str(body["event_id"]), str(body["subscription_id"]), body.get("replay_id")
            )
            await dependencies.worker.work(key)
    except KeyBlockedError:
        raise
    except Exception:
        _logger.exception("message not done", extra={"message_id": record.get("messageId")})
        raise
