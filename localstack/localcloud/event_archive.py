"""Archives of event buses, which MiniStack has and its CloudFormation does not.

Read from the deployed templates' metadata, so that it holds for whichever stack asks for one.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from localcloud.aws import Aws
from localcloud.settings import ACCOUNT, REGION
from localcloud.templates import deployed

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

# `infra.constructs.event_archive` writes it.
METADATA = "santaclaude:event-archives"
_UNKNOWN = "ResourceNotFoundException"


def complete(aws: Aws) -> list[str]:
    """Make every archive that a template asks for, and make those anew that have changed.

    Returns the names of the archives that were made now. A changed one loses its events.
    """
    client: EventBridgeClient = aws.client("events")
    made = []
    for _, template in deployed(aws):
        for asked in template.get("Metadata", {}).get(METADATA, ()):
            wanted = _wanted(asked)
            name = wanted["ArchiveName"]
            present = _present(client, name)
            if present is not None:
                if all(present.get(field) == value for field, value in wanted.items()):
                    continue
                client.delete_archive(ArchiveName=name)
            client.create_archive(**wanted)
            made.append(name)
    return made


def _wanted(asked: Mapping[str, Any]) -> dict[str, Any]:
    bus = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{asked['EventBusName']}"
    return {
        "ArchiveName": asked["ArchiveName"],
        "EventSourceArn": bus,
        "EventPattern": asked["EventPattern"],
        # CloudFormation's numbers may come back as text.
        "RetentionDays": int(asked["RetentionDays"]),
    }


def _present(client: "EventBridgeClient", name: str) -> Mapping[str, Any] | None:
    try:
        return client.describe_archive(ArchiveName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != _UNKNOWN:
            raise
        return None
