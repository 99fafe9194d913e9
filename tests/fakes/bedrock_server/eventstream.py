"""The framing of application/vnd.amazon.eventstream."""

from __future__ import annotations

import json
import struct
from binascii import crc32
from collections.abc import Mapping
from typing import Any

MEDIA_TYPE = "application/vnd.amazon.eventstream"

_STRING = 7


def event(event_type: str, payload: Mapping[str, Any]) -> bytes:
    """One event."""
    return _frame({":message-type": "event", ":event-type": event_type}, payload)


def exception(exception_type: str, message: str) -> bytes:
    """An exception, which ends a stream."""
    headers = {":message-type": "exception", ":exception-type": exception_type}
    return _frame(headers, {"message": message})


def _frame(headers: Mapping[str, str], payload: Mapping[str, Any]) -> bytes:
    typed = {**headers, ":content-type": "application/json"}
    head = b"".join(_header(name, value) for name, value in typed.items())
    body = json.dumps(payload, ensure_ascii=False).encode()
    # Lengths, their checksum, headers, payload, and the checksum of all before it.
    total = 4 + 4 + 4 + len(head) + len(body) + 4
    prelude = struct.pack("!II", total, len(head))
    message = prelude + struct.pack("!I", crc32(prelude)) + head + body
    return message + struct.pack("!I", crc32(message))


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return struct.pack("!B", len(key)) + key + struct.pack("!BH", _STRING, len(text)) + text
