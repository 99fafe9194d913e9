"""The evidence bucket. Objects are created once: its policy refuses a put without If-None-Match.

Readers need s3:ListBucket beside s3:GetObject: without it S3 answers 403, not 404, for a name that
is not there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar, cast

from servicekit.aws import LazyClient, make_client
from servicekit.backoff import full_jitter
from servicekit.errors import StoreUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

AnswerT = TypeVar("AnswerT")

_WORKERS = 16
_ATTEMPTS = 6
_FIRST_PAUSE_SECONDS = 0.05
_EXISTS = "PreconditionFailed"
_MISSING = "NoSuchKey"
# Another conditional put of the same name is under way: AWS wants the put tried again.
_CONFLICT = "ConditionalRequestConflict"
_ANSWERS = frozenset({_EXISTS, _MISSING, _CONFLICT})
_logger = logging.getLogger(__name__)


class S3Evidence:
    """`ports.EvidenceStore` on S3. Raises `StoreUnavailableError`."""

    def __init__(self, bucket: str, make: Callable[[], S3Client] | None = None) -> None:
        self._bucket = bucket
        self._client: LazyClient[S3Client] = LazyClient(make or _make_client)
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="evidence")

    async def create(self, name: str, content: bytes) -> bool:
        """See `ports.EvidenceStore`; False also when a put whose answer was lost had created it."""

        def put(client: S3Client) -> None:
            client.put_object(
                Bucket=self._bucket,
                Key=name,
                Body=content,
                IfNoneMatch="*",
                # A bucket with Object Lock takes no put without a checksum.
                ChecksumAlgorithm="SHA256",
            )

        for attempt in range(_ATTEMPTS):
            try:
                await self._call(name, put)
            except _AnswerError as answer:
                if answer.code != _CONFLICT:
                    return False
            else:
                return True
            await asyncio.sleep(full_jitter(attempt, _FIRST_PAUSE_SECONDS))
        raise StoreUnavailableError(retry_after=1)

    async def read(self, name: str) -> bytes | None:
        """See `ports.EvidenceStore`."""
        try:
            return await self._call(
                name, lambda client: client.get_object(Bucket=self._bucket, Key=name)["Body"].read()
            )
        except _AnswerError:
            return None

    def close(self) -> None:
        """Ends the worker threads and the connections."""
        self._workers.shutdown(wait=True)
        self._client.close()

    async def _call(self, name: str, work: Callable[[S3Client], AnswerT]) -> AnswerT:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._workers, self._call_now, name, work)

    def _call_now(self, name: str, work: Callable[[S3Client], AnswerT]) -> AnswerT:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            return work(self._client.get())
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _ANSWERS:
                raise _AnswerError(code) from None
            _logger.exception("evidence refused", extra={"object": name, "aws_code": code})
            raise StoreUnavailableError(retry_after=1) from None
        except BotoCoreError:
            _logger.exception("evidence failed", extra={"object": name})
            raise StoreUnavailableError(retry_after=1) from None


class _AnswerError(Exception):
    """S3 said no in a way that is an answer."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def _make_client() -> S3Client:
    client = make_client(
        "s3",
        connect_timeout=2,
        read_timeout=10,
        max_pool_connections=_WORKERS,
        retries={"mode": "standard", "total_max_attempts": 4},
    )
    return cast("S3Client", client)
