"""Events of the WebSocket API."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from functions.messaging.domain.conversation import Conversations
from servicekit.context import (
    RequestContext,
    choose_request_id,
    continue_trace,
    enter_context,
)
from servicekit.errors import AppError

_OK = 200
_logger = logging.getLogger(__name__)


async def answer(conversations: Conversations, event: Mapping[str, Any]) -> dict[str, int]:
    """What API Gateway is told; of `$connect`, whether the connection is to be.

    Nothing of an event is logged but the connection's id: a ticket is a secret.
    """
    context = event["requestContext"]
    connection_id = str(context["connectionId"])
    request_id = choose_request_id(None, context.get("requestId"))
    enter_context(RequestContext(request_id, continue_trace(None)))
    try:
        match context["eventType"]:
            case "CONNECT":
                query = event.get("queryStringParameters") or {}
                await conversations.connect(connection_id, query.get("ticket"))
            case "DISCONNECT":
                await conversations.disconnect(connection_id)
            case _:
                text = None if event.get("isBase64Encoded") else str(event.get("body") or "")
                await conversations.receive(connection_id, text)
    except AppError as error:
        facts = {"connection_id": connection_id, "code": error.code}
        _logger.info("connection refused or not ended", extra=facts)
        return {"statusCode": error.status}
    return {"statusCode": _OK}
