"""Messages of SQS that hold an event of the environment's bus, as Lambda gets them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from servicekit.errors import AppError

DEAD_LETTERS_SUFFIX = "-dlq"
"""Of the name of a queue's dead-letter queue, behind the queue's own."""

# Of the message service's ids; `#` joins the parts of stored keys.
_ID = re.compile(r"[A-Za-z0-9._:=-]{1,128}", re.ASCII)

JsonObject = Mapping[str, Any]


class NotAnEventError(AppError):
    """The message is no event of the message service, or none that its consumer can read."""

    code = "not_an_event"
    status = 422
    title = "The message is not an event"


@dataclass(frozen=True, slots=True, kw_only=True)
class BusEvent:
    """One event. `detail` is the message service's envelope (CloudEvents attributes and `data`).

    Of a message that is no such event `detail` is None, and `event_id` is made from the bus's own
    id, or from the message's: it can be counted and reported like any other. `replay_id` is there
    when the event came out of the archive, `target` when it is for one consumer alone.
    """

    event_id: str
    event_type: str | None = None
    tenant: str | None = None
    target: str | None = None
    replay_id: str | None = None
    request_id: str | None = None
    traceparent: str | None = None
    detail: JsonObject | None = None

    def require_detail(self) -> JsonObject:
        """The envelope. Raises `NotAnEventError`."""
        if self.detail is None:
            raise NotAnEventError
        return self.detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Under what a message came: `receives` counts this one; `dead` when its queue holds what was
    given up. `queue` is the name of the queue that it was given up by, or waits in.
    """

    message_id: str
    receipt: str
    receives: int
    queue: str
    dead: bool

    @property
    def source(self) -> str:
        """Name of the queue that holds the message."""
        return f"{self.queue}{DEAD_LETTERS_SUFFIX}" if self.dead else self.queue


def delivery_of(record: JsonObject) -> Delivery:
    """How the message came. Raises `KeyError` or `ValueError` for what is no record of SQS."""
    name = str(record["eventSourceARN"]).rpartition(":")[2]
    return Delivery(
        message_id=str(record["messageId"]),
        receipt=str(record["receiptHandle"]),
        receives=int(record["attributes"]["ApproximateReceiveCount"]),
        queue=name.removesuffix(DEAD_LETTERS_SUFFIX),
        dead=name.endswith(DEAD_LETTERS_SUFFIX),
    )


def event_of(record: JsonObject) -> BusEvent:
    """The event in the message, whatever the message holds."""
    fallback = f"message-{record['messageId']}"
    try:
        body = json.loads(record["body"])
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, Mapping):
        return BusEvent(event_id=fallback)
    detail = body.get("detail")
    known = detail if isinstance(detail, Mapping) else {}
    bus_id = _identifier(body.get("id"))
    event_id = _identifier(known.get("id"))
    return BusEvent(
        event_id=event_id or (f"bus-{bus_id}" if bus_id else fallback),
        event_type=_identifier(known.get("type") or body.get("detail-type")),
        tenant=_identifier(known.get("tenant")),
        target=_text(known.get("target")),
        replay_id=_identifier(body.get("replay-name")),
        request_id=_text(known.get("requestid")),
        traceparent=_text(known.get("traceparent")),
        detail=known if event_id else None,
    )


def _identifier(value: object) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
