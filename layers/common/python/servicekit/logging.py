"""JSON log lines: correlated, and never with content of chats, prompts or bodies."""

from __future__ import annotations

import copy
import logging
import sys
import traceback
from typing import Any, TextIO

from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

from servicekit.context import current_context

_OWN_LOGGERS = ("functions", "servicekit")


class ContentFreeFormatter(LambdaPowertoolsFormatter):
    """Powertools' JSON with the request's ids; of an exception only its type and its frames.

    Messages of exceptions are left out because they may quote what a person wrote.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = copy.copy(record)
        line.__dict__.pop("taskName", None)
        context = current_context()
        if context is not None:
            line.request_id = context.request_id
            line.trace_id = context.trace.trace_id
            line.traceparent = context.trace.traceparent
        if isinstance(line.exc_info, tuple) and line.exc_info[1] is not None:
            line.exception_name, line.stack = _describe(line.exc_info[1])
        line.exc_info = None
        line.exc_text = None
        return super().format(line)


def configure_logging(service: str, level: str, stream: TextIO | None = None) -> None:
    """Sends every log line of this process to `stream` (standard output) as JSON.

    `level` is for our own loggers; libraries speak from WARNING on, because their debug lines hold
    whole requests.
    """
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(ContentFreeFormatter(utc=True, use_rfc3339=True, service=service))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in _OWN_LOGGERS:
        logging.getLogger(name).setLevel(level)


def _describe(error: BaseException) -> tuple[str, list[dict[str, Any]]]:
    chain = []
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        frames = traceback.extract_tb(cause.__traceback__)
        chain.append(
            {
                "type": f"{type(cause).__module__}.{type(cause).__qualname__}",
                "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
            }
        )
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return type(error).__name__, chain
