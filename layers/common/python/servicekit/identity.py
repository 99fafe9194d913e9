"""Who calls: read from API Gateway's request context, and from nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from servicekit.errors import AppError, UnauthenticatedError

CONTEXT_HEADER = b"x-amzn-request-context"
"""The web adapter puts the request context of a streamed call here; a client must not."""

Scope = MutableMapping[str, Any]

_ASSUMED_ROLE = re.compile(r"(arn:[^:]+:sts::\d+:assumed-role/[^/]+)/.+")


class ForbiddenHeaderError(AppError):
    """A client sent the header that carries the identity of streamed calls."""

    code = "forbidden_header"
    status = 400
    title = "A header of the request is reserved"


class InvalidRequestContextError(AppError):
    """The request context is ambiguous or unreadable."""

    code = "invalid_request_context"
    status = 400
    title = "The request context is not valid"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who API Gateway let in; `principal` is the user or the role, without the role's session."""

    principal: str


@dataclass(frozen=True, slots=True)
class GatewayContext:
    """What API Gateway says about a request: its id, and the caller unless the route is open."""

    request_id: str | None
    caller: Caller | None


ContextReader = Callable[[Scope], GatewayContext]


def buffered_context(scope: Scope) -> GatewayContext:
    """The context of a call that came as an event through Mangum.

    Raises `ForbiddenHeaderError` when the client sent the context header of streamed calls.
    """
    if _context_headers(scope):
        raise ForbiddenHeaderError("x-amzn-request-context must not be sent.")
    event = scope.get("aws.event")
    context = event.get("requestContext") if isinstance(event, Mapping) else None
    return _parse(context) if isinstance(context, Mapping) else GatewayContext(None, None)


def streamed_context(scope: Scope) -> GatewayContext:
    """The context of a call that came through the web adapter, which sets one header.

    Raises `InvalidRequestContextError` when there are two or it is no JSON object.
    """
    values = _context_headers(scope)
    if not values:
        return GatewayContext(None, None)
    if len(values) > 1:
        raise InvalidRequestContextError("x-amzn-request-context was sent more than once.")
    try:
        context = json.loads(values[0])
    except (ValueError, RecursionError):
        context = None
    if not isinstance(context, Mapping):
        raise InvalidRequestContextError("x-amzn-request-context is not a JSON object.")
    return _parse(context)


def require_caller(scope: Scope) -> Caller:
    """The caller that the middleware put into the scope. Raises `UnauthenticatedError`."""
    caller = scope.get("santaclaude.caller")
    if not isinstance(caller, Caller):
        raise UnauthenticatedError("The request did not come through the API's authorization.")
    return caller


def _context_headers(scope: Scope) -> list[bytes]:
    return [value for name, value in scope["headers"] if name.lower() == CONTEXT_HEADER]


def _parse(context: Mapping[str, Any]) -> GatewayContext:
    request_id = _text(context.get("requestId"))
    identity = context.get("identity")
    arn = _text(identity.get("userArn")) if isinstance(identity, Mapping) else None
    if arn is None:
        return GatewayContext(request_id, None)
    role = _ASSUMED_ROLE.fullmatch(arn)
    return GatewayContext(request_id, Caller(role.group(1) if role else arn))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
