"""Opaque cursors that belong to one query, and the house's page limits."""

from __future__ import annotations

import base64
import hashlib
import json

from servicekit.errors import AppError

DEFAULT_LIMIT = 50
MAX_LIMIT = 100

_BINDING_LENGTH = 12


class InvalidCursorError(AppError):
    """The cursor was not made by this service for this query."""

    code = "invalid_cursor"
    status = 400
    title = "The cursor is not valid for this query"


def encode_cursor(position: str, query: str) -> str:
    """A URL-safe cursor for `position` in the results of `query`."""
    content = json.dumps([position, _binding(query)], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, query: str) -> str:
    """The position. Raises `InvalidCursorError` unless the cursor was made for `query`."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        content = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        position, binding = content
    except (ValueError, TypeError, RecursionError):
        raise InvalidCursorError from None
    if not isinstance(position, str) or binding != _binding(query):
        raise InvalidCursorError
    return position


def _binding(query: str) -> str:
    return hashlib.sha256(query.encode()).hexdigest()[:_BINDING_LENGTH]
