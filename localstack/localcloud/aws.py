"""boto3 clients for the emulated account."""

from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from localcloud.settings import REGION, ROOT_KEY

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_sts import STSClient

# Never through a person's proxy: everything is on this machine.
_CONFIG = Config(proxies={}, connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 3})


class Aws:
    """Clients for the account's root at one endpoint, or for a role's session."""

    def __init__(
        self,
        endpoint: str,
        *,
        key: str = ROOT_KEY,
        secret: str = ROOT_KEY,
        token: str | None = None,
    ) -> None:
        self._session = boto3.Session(
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            region_name=REGION,
        )
        self._endpoint = endpoint

    def client(self, service: Any) -> Any:
        """A client of any service."""
        return self._session.client(service, endpoint_url=self._endpoint, config=_CONFIG)

    @property
    def cloudformation(self) -> "CloudFormationClient":
        """The stacks."""
        return self.client("cloudformation")  # type: ignore[no-any-return]

    @property
    def functions(self) -> "LambdaClient":
        """The functions."""
        return self.client("lambda")  # type: ignore[no-any-return]

    @property
    def parameters(self) -> "SSMClient":
        """The parameters in which the stacks say what they made."""
        return self.client("ssm")  # type: ignore[no-any-return]

    @property
    def sts(self) -> "STSClient":
        """Sessions of roles."""
        return self.client("sts")  # type: ignore[no-any-return]

    def parameter(self, name: str) -> str | None:
        """The value of a parameter, None when it does not exist."""
        answer = self.parameters.get_parameters(Names=[name])
        return next((found["Value"] for found in answer["Parameters"]), None)
