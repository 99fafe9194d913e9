"""AWS clients: made on first use, shared by the process, called from worker threads.

botocore is imported in here and only when the first client is needed: it costs more CPU than all
the rest of a function's start.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from servicekit.errors import AppError

ClientT = TypeVar("ClientT")
T = TypeVar("T")

_logger = logging.getLogger(__name__)

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


def make_client(service: str, *, endpoint_url: str | None = None, **config: Any) -> Any:
    """A botocore client with `config` as its `botocore.config.Config`; `endpoint_url` is for what
    has an address of its own.
    """
    from botocore.config import Config  # noqa: PLC0415
    from botocore.session import get_session  # noqa: PLC0415

    return get_session().create_client(service, endpoint_url=endpoint_url, config=Config(**config))


def guarded(name: str, unavailable: type[AppError], call: Callable[[], T]) -> T:
    """What `call` returns; where AWS refuses it or does not answer, that is logged under `name`,
    by AWS's code alone, and `unavailable` is raised.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        return call()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        _logger.exception("%s refused", name, extra={"aws_code": code})
        raise unavailable(retry_after=1) from None
    except BotoCoreError:
        _logger.exception("%s does not answer", name)
        raise unavailable(retry_after=1) from None


def current_region() -> str:
    """The region that this process works in, as its clients have it. Raises `NoRegionError`."""
    from botocore.exceptions import NoRegionError  # noqa: PLC0415
    from botocore.session import get_session  # noqa: PLC0415

    region: str | None = get_session().get_config_variable("region")
    if region is None:
        raise NoRegionError
    return region
