"""AWS clients: made on first use, shared by the process, called from worker threads.

botocore is imported in here and only when the first client is needed: it costs more CPU than all
the rest of a function's start.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

ClientT = TypeVar("ClientT")

_API_URL = re.compile(r"https://([^./]+)\.execute-api\.([^./]+)\.[^/]+/([^/]+)")

# Making clients is not thread-safe in botocore, using them is.
_lock = threading.Lock()


class LazyClient(Generic[ClientT]):
    """A client that exists from its first `get` on; call `get` in a worker thread."""

    def __init__(self, make: Callable[[], ClientT]) -> None:
        self._make = make
        self._client: ClientT | None = None

    def get(self) -> ClientT:
        """The one client of this object."""
        if self._client is None:
            with _lock:
                if self._client is None:
                    self._client = self._make()
        return self._client

    def close(self) -> None:
        """Closes the client's connections, if there is a client."""
        client: Any = self._client
        if client is not None:
            client.close()


def make_client(service: str, **config: Any) -> Any:
    """A botocore client with `config` as its `botocore.config.Config`."""
    from botocore.config import Config  # noqa: PLC0415
    from botocore.session import get_session  # noqa: PLC0415

    return get_session().create_client(service, config=Config(**config))


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """Where a REST API is reached, and the region to sign for."""

    url: str
    region: str


def api_address(url: str) -> ApiAddress:
    """Of `https://<api id>.execute-api.<region>.<suffix>/<stage>`.

    Where the SDKs are sent to another cloud (`AWS_ENDPOINT_URL`), the API is there too, below a
    path: MiniStack's and LocalStack's names do not resolve. Raises `ValueError`.
    """
    match = _API_URL.fullmatch(url)
    if match is None:
        raise ValueError(f"not the address of a REST API: {url}")
    api_id, region, stage = match.groups()
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        return ApiAddress(f"{endpoint.rstrip('/')}/_aws/execute-api/{api_id}/{stage}", region)
    return ApiAddress(url, region)
