"""KMS keys that only the roles named may use."""

from collections.abc import Sequence
from typing import Literal

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from infra.constructs.python_function import PythonFunction

_PENDING = Duration.days(30)

# The account manages the key and cannot use it: neither cryptographic operations nor grants, which
# would hand them on.
_MANAGEMENT = (
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:GetPublicKey",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListResourceTags",
    "kms:ListRetirableGrants",
    "kms:PutKeyPolicy",
    "kms:RevokeGrant",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
)


class RestrictedKey(Construct):
    """A key for signing (Ed25519) or for wrapping data keys (rotated every year).

    An IAM policy alone opens it to nobody, an administrator's included: the key's own policy must
    name the role too, which `allow` does.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        use: Literal["signing", "wrapping"],
        description: str,
        retain: bool,
    ) -> None:
        super().__init__(scope, construct_id)
        signing = use == "signing"
        self.key = kms.Key(
            self,
            "Key",
            description=description,
            key_spec=kms.KeySpec.ECC_NIST_EDWARDS25519
            if signing
            else kms.KeySpec.SYMMETRIC_DEFAULT,
            key_usage=kms.KeyUsage.SIGN_VERIFY if signing else kms.KeyUsage.ENCRYPT_DECRYPT,
            # KMS rotates symmetric keys only.
            enable_key_rotation=None if signing else True,
            pending_window=_PENDING,
            policy=iam.PolicyDocument(
                statements=[
                    iam.PolicyStatement(
                        sid="Management",
                        principals=[iam.AccountRootPrincipal()],
                        actions=list(_MANAGEMENT),
                        resources=["*"],
                    )
                ]
            ),
            removal_policy=RemovalPolicy.RETAIN if retain else RemovalPolicy.DESTROY,
        )

    def allow(self, sid: str, actions: Sequence[str], *functions: PythonFunction) -> None:
        """Let the functions' roles do `actions` with the key."""
        names = [f"kms:{action}" for action in actions]
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                sid=sid,
                principals=[iam.ArnPrincipal(function.role.role_arn) for function in functions],
                actions=names,
                resources=["*"],
            )
        )
        for function in functions:
            function.role.add_to_policy(
                iam.PolicyStatement(sid=sid, actions=names, resources=[self.key.key_arn])
            )
