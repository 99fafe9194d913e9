"""The errors of routing policies."""

from __future__ import annotations

from servicekit.errors import AppError


class RoutingNotFoundError(AppError):
    """The project has no policy of its own: the deployment's binds it."""

    code = "routing_not_found"
    status = 404
    title = "The project has no routing policy of its own"
