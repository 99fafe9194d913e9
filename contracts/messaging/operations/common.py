"""What the operations of messaging v1 share."""

from __future__ import annotations

# 400: malformed JSON, cursor or header. 403, 429 and 504 come from the gateway as well.
ANY_CALL = (400, 401, 403, 429, 500, 503, 504)
WITH_BODY = (413, 415, 422)


def errors(*groups: tuple[int, ...]) -> tuple[int, ...]:
    """The statuses of all groups, each once, in order."""
    return tuple(sorted({status for group in groups for status in group}))
