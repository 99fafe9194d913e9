"""Checkpoints of sessions in a bucket, reached by links for one object each.

The browser function has no rights of its own: a link is all that it gets. Each command has an
object of its own, so that a command that fails leaves the checkpoint before it as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, cast

from servicekit.aws import LazyClient, guarded, make_client
from servicekit.errors import StoreUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Between a link's making and its use lie the function's start and its last steps.
_MARGIN = timedelta(minutes=1)


class S3Checkpoints:
    """`dispatch.Checkpoints` on S3."""

    def __init__(self, bucket: str, make: Callable[[], S3Client] | None = None) -> None:
        self._bucket = bucket
        self._client: LazyClient[S3Client] = LazyClient(make or _make_client)

    async def reading(self, session_id: str, epoch: int, lasts: timedelta) -> str:
        """See `Checkpoints`."""
        return await asyncio.to_thread(self._sign, "get_object", session_id, epoch, lasts)

    async def writing(self, session_id: str, epoch: int, lasts: timedelta) -> str:
        """See `Checkpoints`."""
        return await asyncio.to_thread(self._sign, "put_object", session_id, epoch, lasts)

    def _sign(
        self,
        operation: Literal["get_object", "put_object"],
        session_id: str,
        epoch: int,
        lasts: timedelta,
    ) -> str:
        def call() -> str:
            return self._client.get().generate_presigned_url(
                operation,
                Params={"Bucket": self._bucket, "Key": _key(session_id, epoch)},
                ExpiresIn=int((lasts + _MARGIN).total_seconds()),
            )

        return guarded("checkpoints", StoreUnavailableError, call)


def _key(session_id: str, epoch: int) -> str:
    return f"sessions/{session_id}/checkpoints/{epoch}"


def _make_client() -> S3Client:
    # Links of the older signature would not carry the role session's end.
    return cast("S3Client", make_client("s3", signature_version="s3v4"))
