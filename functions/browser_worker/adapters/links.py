"""What is kept of a session, read and stored by links for one object each.

The function has no rights of its own: a link is all that it gets, and nothing of it is logged.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import urllib.error
import urllib.request
from http.client import HTTPException

from pydantic import ValidationError

from functions.browser_worker.domain.checkpoints import MAX_BYTES, Checkpoint

_TIMEOUT_SECONDS = 10.0
_logger = logging.getLogger(__name__)
# Links lead to S3 alone: neither a proxy of the environment's nor a redirect has a say.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class LinkedObjects:
    """`checkpoints.CheckpointStore` and `FileStore`."""

    async def read(self, link: str) -> Checkpoint | None:
        """See `CheckpointStore`."""
        content = await asyncio.to_thread(_call, urllib.request.Request(link))  # noqa: S310
        if content is None:
            return None
        try:
            return Checkpoint.model_validate_json(gzip.decompress(content))
        except (ValidationError, OSError, EOFError):
            _logger.exception("a checkpoint is not readable")
            return None

    async def store(self, link: str, checkpoint: Checkpoint) -> bool:
        """See `CheckpointStore`."""
        content = gzip.compress(checkpoint.model_dump_json().encode(), compresslevel=1)
        return await self.put(link, content, "application/gzip")

    async def put(self, link: str, content: bytes, media_type: str) -> bool:
        """See `FileStore`."""
        request = urllib.request.Request(  # noqa: S310
            link, data=content, method="PUT", headers={"content-type": media_type}
        )
        return await asyncio.to_thread(_call, request) is not None


def _call(request: urllib.request.Request) -> bytes | None:
    """The answer's body, or None."""
    try:
        with _opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
            content: bytes = answer.read(MAX_BYTES + 1)
    except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
        status = getattr(error, "code", None)
        _logger.warning(
            "a link does not work", extra={"kind": type(error).__name__, "status": status}
        )
        return None
    if len(content) > MAX_BYTES:
        _logger.warning("what a link leads to is too large")
        return None
    return content
