"""Why the figures of the streams cannot be told."""

from __future__ import annotations

from servicekit.errors import AppError


class FiguresUnavailableError(AppError):
    """A queue, or CloudWatch, does not answer."""

    code = "figures_unavailable"
    status = 503
    title = "The figures cannot be read now"
