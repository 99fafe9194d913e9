"""The Idempotency-Key of a request, scoped so that nobody meets another's answers."""

from __future__ import annotations

from pydantic import BaseModel
from starlette.requests import Request

from servicekit import idempotency
from servicekit.identity import require_caller


def keyed(
    request: Request, operation: str, body: BaseModel, *scope: int | str
) -> idempotency.Request | None:
    """What to look up, or None without the header.

    `scope` holds the ids whose keys are kept apart: of the user, of the session. Raises
    `InvalidIdempotencyKeyError`.
    """
    headers = request.headers.getlist("idempotency-key")
    if not headers:
        return None
    if len(headers) > 1:
        raise idempotency.InvalidIdempotencyKeyError("It was sent more than once.")
    key = idempotency.check_key(headers[0])
    principal = require_caller(request.scope).principal
    return idempotency.Request(
        idempotency.scope_key(key, principal, operation, *scope),
        # Without defaults: a field that a later version adds changes no earlier request.
        idempotency.fingerprint(body.model_dump(mode="json", exclude_defaults=True)),
    )
