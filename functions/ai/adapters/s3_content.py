"""The bucket of content that is too large for the table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from functions.ai.domain.ports import ContentFacts
from servicekit.aws import LazyClient, guarded, make_client
from servicekit.errors import StoreUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONNECT_SECONDS = 2
_READ_SECONDS = 10
# Those of one `domain.image_loader` and of its neighbours in the process.
_CONNECTIONS = 32
_logger = logging.getLogger(__name__)

T = TypeVar("T")


class S3Content:
    """`ports.ContentStore` on S3."""

    def __init__(self, bucket: str, make: Callable[[], S3Client] | None = None) -> None:
        self.bucket = bucket
        self._client: LazyClient[S3Client] = LazyClient(make or _make_client)

    async def put(self, key: str, media_type: str, data: bytes) -> None:
        """See `ports.ContentStore`."""

        def call() -> None:
            self._client.get().put_object(
                Bucket=self.bucket, Key=key, Body=data, ContentType=media_type
            )

        await asyncio.to_thread(_guarded, call)

    async def get(self, key: str) -> bytes | None:
        """See `ports.ContentStore`."""

        def call() -> bytes:
            with self._client.get().get_object(Bucket=self.bucket, Key=key)["Body"] as body:
                return body.read()

        return await asyncio.to_thread(_found, call)

    async def head(self, key: str) -> ContentFacts | None:
        """See `ports.ContentStore`."""

        def call() -> ContentFacts:
            known = self._client.get().head_object(Bucket=self.bucket, Key=key)
            return ContentFacts(known["ContentType"], known["ContentLength"])

        return await asyncio.to_thread(_found, call)

    async def delete_prefix(self, prefix: str) -> None:
        """See `ports.ContentStore`."""
        await asyncio.to_thread(_guarded, lambda: self._delete_prefix(prefix))

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    def _delete_prefix(self, prefix: str) -> None:
        client = self._client.get()
        # A page has as many keys as one deletion takes.
        for page in client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix
        ):
            keys = [found["Key"] for found in page.get("Contents", [])]
            if not keys:
                continue
            answer = client.delete_objects(
                Bucket=self.bucket,
                Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True},
            )
            if failed := answer.get("Errors", []):
                # An answer of 200 says nothing about the objects: each tells for itself.
                codes = sorted({error.get("Code", "") for error in failed})
                _logger.error(
                    "objects not deleted", extra={"objects": len(failed), "aws_codes": codes}
                )
                raise StoreUnavailableError(retry_after=1)


def _found(call: Callable[[], T]) -> T | None:
    from botocore.exceptions import ClientError  # noqa: PLC0415

    def look() -> T | None:
        try:
            return call()
        except ClientError as error:
            missing = error.response["ResponseMetadata"]["HTTPStatusCode"] == HTTPStatus.NOT_FOUND
            # Not a bucket that is missing: HeadObject tells both by their status alone.
            if missing and error.response["Error"]["Code"] != "NoSuchBucket":
                return None
            raise

    return _guarded(look)


def _guarded(call: Callable[[], T]) -> T:
    return guarded("S3", StoreUnavailableError, call)


def _make_client() -> S3Client:
    client: S3Client = make_client(
        "s3",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        max_pool_connections=_CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return client
