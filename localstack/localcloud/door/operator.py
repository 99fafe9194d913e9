"""The role as which the front door calls: sessions, and signatures with them."""

import asyncio
import datetime as dt
import logging
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

from localcloud.aws import Aws
from localcloud.door.problems import unreachable
from localcloud.settings import ACCOUNT, OPERATOR_ROLE, REGION

# A session that one role gets from another's lasts an hour at most.
SESSION = dt.timedelta(hours=1)
_REFRESH_BEFORE = dt.timedelta(minutes=10)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """Temporary credentials of a role."""

    key: str
    secret: str
    token: str
    expires: dt.datetime

    def lasts(self, span: dt.timedelta) -> bool:
        """Whether the credentials are good for that long."""
        return dt.datetime.now(dt.UTC) + span < self.expires

    def sign(self, method: str, url: str, headers: dict[str, str], body: bytes) -> dict[str, str]:
        """The headers that make the request a signed one (SigV4, execute-api)."""
        request = AWSRequest(method=method, url=url, headers=headers, data=body)
        credentials = Credentials(self.key, self.secret, self.token)
        SigV4Auth(credentials, "execute-api", REGION).add_auth(request)
        return {name.lower(): value for name, value in request.headers.items()}


def canonical_query(query: str) -> str:
    """The same query in the one form that a signature can cover (RFC 3986, `+` for a blank).

    Raises UnicodeDecodeError when it is not UTF-8.
    """
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return "&".join(f"{_encoded(name)}={_encoded(value)}" for name, _, value in pairs)


def _encoded(part: str) -> str:
    return quote(unquote_to_bytes(part.replace("+", " ")).decode(), safe="-_.~")


class Operator:
    """Sessions of the local operator and of the roles that it may assume."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._session: Session | None = None
        self._lock = asyncio.Lock()

    async def session(self) -> Session:
        """A session of the operator that lasts a while. Raises Problem when there is none."""
        async with self._lock:
            if self._session is None or not self._session.lasts(_REFRESH_BEFORE):
                role = f"arn:aws:iam::{ACCOUNT}:role/{OPERATOR_ROLE}"
                self._session = await _assumed(Aws(self._endpoint), role)
            return self._session

    async def session_of(self, role: str) -> Session:
        """A new session of a role that trusts the operator. Raises Problem when there is none."""
        own = await self.session()
        aws = Aws(self._endpoint, key=own.key, secret=own.secret, token=own.token)
        return await _assumed(aws, role)


async def _assumed(aws: Aws, role: str) -> Session:
    try:
        return await asyncio.to_thread(_assume, aws, role)
    except (BotoCoreError, ClientError) as error:
        _log.warning("no session", extra={"role": role, "error": str(error)})
        raise unreachable() from None


def _assume(aws: Aws, role: str) -> Session:
    answer = aws.sts.assume_role(
        RoleArn=role,
        RoleSessionName="front-door",
        DurationSeconds=int(SESSION.total_seconds()),
    )["Credentials"]
    return Session(
        answer["AccessKeyId"],
        answer["SecretAccessKey"],
        answer["SessionToken"],
        answer["Expiration"],
    )
