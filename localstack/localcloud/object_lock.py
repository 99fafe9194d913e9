"""Object Lock, which MiniStack has and its CloudFormation leaves out.

Read from the deployed templates, so that it holds for whichever bucket asks for it.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from localcloud.aws import Aws
from localcloud.templates import deployed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_BUCKET = "AWS::S3::Bucket"
_NOT_LOCKED = "ObjectLockConfigurationNotFoundError"


def complete(aws: Aws) -> list[str]:
    """Lock every bucket as its template says, where it is not yet.

    Returns the names of the buckets that were locked now.
    """
    client: S3Client = aws.client("s3")
    locked = []
    for name, wanted in _asked_for(aws):
        if _present(client, name) != wanted:
            client.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=wanted)
            locked.append(name)
    return locked


def _asked_for(aws: Aws) -> Iterator[tuple[str, Any]]:
    """Buckets by name, with the configuration as S3's API takes it."""
    for name, template in deployed(aws):
        for logical_id, configuration in _configurations(template):
            resource = aws.cloudformation.describe_stack_resource(
                StackName=name, LogicalResourceId=logical_id
            )
            bucket = resource["StackResourceDetail"].get("PhysicalResourceId", "")
            yield bucket, configuration


def _configurations(template: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for logical_id, resource in template.get("Resources", {}).items():
        properties = resource.get("Properties", {})
        if resource["Type"] == _BUCKET and properties.get("ObjectLockEnabled"):
            yield (
                logical_id,
                {
                    "ObjectLockEnabled": "Enabled",
                    **properties.get("ObjectLockConfiguration", {}),
                },
            )


def _present(client: "S3Client", bucket: str) -> Any:
    try:
        answer = client.get_object_lock_configuration(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] != _NOT_LOCKED:
            raise
        return None
    return answer["ObjectLockConfiguration"]
