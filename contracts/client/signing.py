"""Signs requests with AWS Signature Version 4 for an API that IAM guards.

botocore is imported when the first request is signed, not before.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from botocore.credentials import Credentials, ReadOnlyCredentials

_SIGNED_HEADERS = ("host", "content-type")


class NoCredentialsError(Exception):
    """botocore's chain found no credentials."""


class SigV4(httpx.Auth):
    """Signs each request, and its body's hash, as `credentials`; by default botocore's chain.

    Expiring credentials are refreshed by botocore, off the event loop. Of the headers only host,
    content-type and the signature's own are signed: proxies may rewrite the others.
    """

    requires_request_body = True

    def __init__(
        self, *, region: str, credentials: Credentials | None = None, service: str = "execute-api"
    ) -> None:
        self._region = region
        self._service = service
        self._credentials = credentials

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign with `httpx.Client`. Raises `NoCredentialsError`."""
        request.read()
        self._sign(request, self._frozen_credentials())
        yield request

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Sign with `httpx.AsyncClient`. Raises `NoCredentialsError`."""
        await request.aread()
        self._sign(request, await asyncio.to_thread(self._frozen_credentials))
        yield request

    def _frozen_credentials(self) -> ReadOnlyCredentials:
        if self._credentials is None:
            from botocore.session import get_session  # noqa: PLC0415 - heavy, see the module

            self._credentials = get_session().get_credentials()
        if self._credentials is None:
            raise NoCredentialsError("No AWS credentials were found to sign with")
        return self._credentials.get_frozen_credentials()

    def _sign(self, request: httpx.Request, credentials: ReadOnlyCredentials) -> None:
        from botocore.auth import SigV4Auth  # noqa: PLC0415 - heavy, see the module
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        headers = {
            name: request.headers[name] for name in _SIGNED_HEADERS if name in request.headers
        }
        headers["x-amz-content-sha256"] = hashlib.sha256(request.content).hexdigest()
        signed = AWSRequest(
            method=request.method, url=str(request.url), headers=headers, data=request.content
        )
        SigV4Auth(credentials, self._service, self._region).add_auth(signed)
        for name, value in signed.headers.items():
            request.headers[name] = value
