"""The archive of the environment's bus, which replays come out of."""

import json
from typing import Any

from aws_cdk import Aws, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from constructs import Construct

from contracts.messaging.envelope import SOURCE_PREFIX, TARGET
from infra.security import Reason, acknowledge
from infra.settings import DeploySettings

METADATA = "santaclaude:event-archives"
"""Of a template without the archive: what the local cloud makes by EventBridge's API."""

# `functions.messaging.domain.replays` names them so.
_REPLAYS = "replay-*"


class EventArchive(Construct):
    """The archive `name`: events of our services, but for those that were sent again to one
    consumer, for as long as the message service keeps them.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, name: str, settings: DeploySettings
    ) -> None:
        super().__init__(scope, construct_id)
        self._deployed = settings.event_archive
        self._events = f"arn:{Aws.PARTITION}:events:{Aws.REGION}:{Aws.ACCOUNT_ID}"
        self.bus_arn = f"{self._events}:event-bus/{settings.event_bus}"
        self.arn = f"{self._events}:archive/{name}"
        pattern: dict[str, Any] = {
            "source": [{"prefix": SOURCE_PREFIX}],
            "detail": {TARGET: [{"exists": False}]},
        }
        if settings.event_archive:
            events.CfnArchive(
                self,
                "Archive",
                archive_name=name,
                source_arn=self.bus_arn,
                event_pattern=pattern,
                retention_days=settings.event_retention_days,
            )
        else:
            Stack.of(self).add_metadata(
                METADATA,
                [
                    {
                        "ArchiveName": name,
                        "EventBusName": settings.event_bus,
                        "EventPattern": json.dumps(pattern),
                        "RetentionDays": settings.event_retention_days,
                    }
                ],
            )

    def replaying(self, sid: str) -> iam.PolicyStatement:
        """Beginning, following and ending replays."""
        return iam.PolicyStatement(
            sid=sid,
            actions=["events:CancelReplay", "events:DescribeReplay", "events:StartReplay"],
            resources=[self.arn, f"{self._events}:replay/{_REPLAYS}"] if self._deployed else ["*"],
        )

    @staticmethod
    def acknowledge(role: iam.IRole) -> None:
        """Tell cdk-nag why the role's policy has a star for replays."""
        acknowledge(role, Reason.REPLAYS)
