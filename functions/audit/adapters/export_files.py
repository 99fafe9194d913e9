"""The bucket of finished bundles."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from servicekit.aws import LazyClient, make_client
from servicekit.errors import StoreUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_LINK_SECONDS = 3_600

_CONNECT_SECONDS = 2
_READ_SECONDS = 60
_logger = logging.getLogger(__name__)


class S3ExportFiles:
    """`ports.ExportFiles` on S3."""

    def __init__(self, bucket: str, make: Callable[[], S3Client] | None = None) -> None:
        self._bucket = bucket
        self._client: LazyClient[S3Client] = LazyClient(make or _make_client)

    async def put(self, name: str, path: str) -> int:
        """See `ports.ExportFiles`. Raises `StoreUnavailableError`."""
        return await asyncio.to_thread(self._put, name, Path(path))

    async def link(self, name: str, seconds: int) -> str:
        """See `ports.ExportFiles`; whoever has it reads the bundle, and nothing else."""
        return await asyncio.to_thread(self._link, name, min(seconds, MAX_LINK_SECONDS))

    def _put(self, name: str, path: Path) -> int:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            with path.open("rb") as file:
                self._client.get().put_object(
                    Bucket=self._bucket, Key=name, Body=file, ContentType="application/zip"
                )
        except ClientError as error:
            _logger.exception(
                "the bundle was refused", extra={"aws_code": error.response["Error"]["Code"]}
            )
            raise StoreUnavailableError from None
        except BotoCoreError:
            _logger.exception("the bundle was not stored")
            raise StoreUnavailableError from None
        return path.stat().st_size

    def _link(self, name: str, seconds: int) -> str:
        return self._client.get().generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self._bucket,
                "Key": name,
                "ResponseContentDisposition": f'attachment; filename="{name}"',
            },
            ExpiresIn=seconds,
        )


def _make_client() -> S3Client:
    client: S3Client = make_client(
        "s3",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 3},
        signature_version="s3v4",
    )
    return client
