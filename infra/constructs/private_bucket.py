"""Buckets that nobody outside reaches."""

from collections.abc import Sequence

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.security import Reason, acknowledge
from infra.settings import LockMode


class AccessLogs(Construct):
    """The bucket that the others of a stack write their access logs to; it forgets them."""

    def __init__(self, scope: Construct, construct_id: str, *, days: int) -> None:
        super().__init__(scope, construct_id)
        self.bucket = _bucket(
            self,
            retain=False,
            lifecycle_rules=[s3.LifecycleRule(expiration=Duration.days(days))],
        )
        acknowledge(self.bucket, Reason.LOG_BUCKET)


class PrivateBucket(Construct):
    """Encrypted, closed to the public, reached by TLS alone, its accesses logged."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        logs: AccessLogs,
        lifecycle_rules: Sequence[s3.LifecycleRule],
        retain: bool,
    ) -> None:
        super().__init__(scope, construct_id)
        self.bucket = _bucket(
            self, retain=retain, lifecycle_rules=lifecycle_rules, logs=logs.bucket
        )


class EvidenceBucket(Construct):
    """Objects are created once and never replaced, and for `lock_days` nobody deletes them.

    Object Lock keeps versions, and says nothing of a newer version over an older one: the policy
    denies every put without `If-None-Match`, which makes S3 refuse it where the object exists. It
    thereby denies multipart uploads too, whose parts cannot carry the header. It denies deleting
    and unlocking to everyone: who means it must take the policy away first.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        logs: AccessLogs,
        lock_mode: LockMode,
        lock_days: int,
        demand_if_none_match: bool,
        retain: bool,
    ) -> None:
        super().__init__(scope, construct_id)
        retention = (
            s3.ObjectLockRetention.compliance
            if lock_mode == "compliance"
            else s3.ObjectLockRetention.governance
        )
        self.bucket = _bucket(
            self,
            retain=retain,
            logs=logs.bucket,
            lock=retention(Duration.days(lock_days)),
        )
        if demand_if_none_match:
            self._deny(
                "OnlyCreate", ["s3:PutObject"], conditions={"Null": {"s3:if-none-match": "true"}}
            )
        self._deny(
            "NeverDelete",
            [
                "s3:BypassGovernanceRetention",
                "s3:DeleteObject",
                "s3:DeleteObjectVersion",
                "s3:PutObjectLegalHold",
                "s3:PutObjectRetention",
            ],
        )

    def _deny(
        self, sid: str, actions: Sequence[str], conditions: dict[str, object] | None = None
    ) -> None:
        self.bucket.add_to_resource_policy(
            iam.PolicyStatement(
                sid=sid,
                effect=iam.Effect.DENY,
                principals=[iam.AnyPrincipal()],
                actions=list(actions),
                resources=[self.bucket.arn_for_objects("*")],
                conditions=conditions,
            )
        )


def _bucket(
    scope: Construct,
    *,
    retain: bool,
    lifecycle_rules: Sequence[s3.LifecycleRule] = (),
    logs: s3.IBucket | None = None,
    lock: s3.ObjectLockRetention | None = None,
) -> s3.Bucket:
    return s3.Bucket(
        scope,
        "Bucket",
        encryption=s3.BucketEncryption.S3_MANAGED,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        enforce_ssl=True,
        lifecycle_rules=list(lifecycle_rules) or None,
        server_access_logs_bucket=logs,
        server_access_logs_prefix=f"{scope.node.id.lower()}/" if logs else None,
        object_lock_enabled=True if lock else None,
        object_lock_default_retention=lock,
        versioned=bool(lock),
        removal_policy=RemovalPolicy.RETAIN if retain else RemovalPolicy.DESTROY,
    )
