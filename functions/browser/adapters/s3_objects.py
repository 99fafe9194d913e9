"""Checkpoints and files of sessions in a bucket, reached by links for one object each.

The browser function has no rights of its own: a link is all that it gets. Each command has an
object of its own, so that a command that fails leaves the checkpoint before it as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, cast

from functions.browser.domain.artifacts import StoredFile
from servicekit.aws import LazyClient, guarded, make_client
from servicekit.errors import StoreUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

LINK_LASTS = timedelta(hours=1)
"""It ends with its signer's role session all the same, which may be sooner."""

# Between a link's making and its use lie the function's start and its last steps.
_MARGIN = timedelta(minutes=1)


class S3Objects:
    """`dispatch.Objects`, `artifacts.Files` and `sessions.Checkpoints` on S3."""

    def __init__(self, bucket: str, make: Callable[[], S3Client] | None = None) -> None:
        self._bucket = bucket
        self._client: LazyClient[S3Client] = LazyClient(make or _make_client)

    async def checkpoint_reading(self, session_id: str, epoch: int, lasts: timedelta) -> str:
        """See `Objects`."""
        return await self._signed("get_object", _checkpoint(session_id, epoch), lasts + _MARGIN)

    async def checkpoint_writing(self, session_id: str, epoch: int, lasts: timedelta) -> str:
        """See `Objects`."""
        return await self._signed("put_object", _checkpoint(session_id, epoch), lasts + _MARGIN)

    async def file_reading(self, session_id: str, name: str) -> str:
        """See `Objects`."""
        return await self._signed("get_object", _file(session_id, name), LINK_LASTS)

    async def file_writing(self, session_id: str, name: str, lasts: timedelta) -> str:
        """See `Objects`."""
        return await self._signed("put_object", _file(session_id, name), lasts + _MARGIN)

    async def files(self, session_id: str, after: str, limit: int) -> list[StoredFile]:
        """See `Files`."""
        return await asyncio.to_thread(self._files, session_id, after, limit)

    async def forget(self, session_id: str) -> None:
        """See `Checkpoints`."""
        await asyncio.to_thread(self._forget, session_id)

    async def _signed(
        self, operation: Literal["get_object", "put_object"], key: str, lasts: timedelta
    ) -> str:
        return await asyncio.to_thread(self._sign, operation, key, lasts)

    def _sign(
        self, operation: Literal["get_object", "put_object"], key: str, lasts: timedelta
    ) -> str:
        def call() -> str:
            return self._client.get().generate_presigned_url(
                operation,
                Params={"Bucket": self._bucket, "Key": key},
                ExpiresIn=int(lasts.total_seconds()),
            )

        return guarded("links", StoreUnavailableError, call)

    def _forget(self, session_id: str) -> None:
        def call() -> None:
            client = self._client.get()
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=_checkpoint(session_id, "")
            )
            for page in pages:
                found: list[ObjectIdentifierTypeDef] = [
                    {"Key": one["Key"]} for one in page.get("Contents", [])
                ]
                if found:
                    client.delete_objects(
                        Bucket=self._bucket, Delete={"Objects": found, "Quiet": True}
                    )

        guarded("checkpoints", StoreUnavailableError, call)

    def _files(self, session_id: str, after: str, limit: int) -> list[StoredFile]:
        prefix = _file(session_id, "")

        def call() -> list[StoredFile]:
            page = self._client.get().list_objects_v2(
                Bucket=self._bucket, Prefix=prefix, StartAfter=prefix + after, MaxKeys=limit
            )
            return [
                StoredFile(
                    name=one["Key"].removeprefix(prefix),
                    size=one["Size"],
                    stored_at=one["LastModified"],
                )
                for one in page.get("Contents", [])
            ]

        return guarded("files", StoreUnavailableError, call)


def _checkpoint(session_id: str, epoch: int | str) -> str:
    return f"sessions/{session_id}/checkpoints/{epoch}"


def _file(session_id: str, name: str) -> str:
    return f"sessions/{session_id}/files/{name}"


def _make_client() -> S3Client:
    # Links of the older signature would not carry the role session's end.
    return cast("S3Client", make_client("s3", signature_version="s3v4"))
