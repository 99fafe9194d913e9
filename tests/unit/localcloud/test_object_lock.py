"""Buckets are locked as the deployed templates say, once."""

import pytest
from botocore.exceptions import ClientError

from localcloud import object_lock

RULE = {"Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
WANTED = {"ObjectLockEnabled": "Enabled", **RULE}
LOCKED = {
    "Type": "AWS::S3::Bucket",
    "Properties": {"ObjectLockEnabled": True, "ObjectLockConfiguration": RULE},
}
TEMPLATES = {
    "santaclaude-local-audit": {
        "Resources": {
            "Evidence": LOCKED,
            "Exports": {"Type": "AWS::S3::Bucket"},
            "Table": {"Type": "AWS::DynamoDB::GlobalTable", "Properties": {}},
        }
    },
    "santaclaude-local-ai": {"Resources": {}},
    "CDKToolkit": "Resources:\n  StagingBucket: {}\n",
}


class Cloud:
    """CloudFormation and S3 with these stacks, and what is locked in them."""

    def __init__(self, locks=None, refusal="ObjectLockConfigurationNotFoundError"):
        self.locks = dict(locks or {})
        self.writes = 0
        self._refusal = refusal

    @property
    def cloudformation(self):
        return self

    def client(self, service):
        assert service == "s3"
        return self

    def get_paginator(self, operation):
        assert operation == "describe_stacks"
        return self

    def paginate(self):
        return [{"Stacks": [{"StackName": name}]} for name in TEMPLATES]

    def get_template(self, StackName):  # noqa: N803
        return {"TemplateBody": TEMPLATES[StackName]}

    def describe_stack_resource(self, StackName, LogicalResourceId):  # noqa: N803
        name = f"{StackName}-{LogicalResourceId}".lower()
        return {"StackResourceDetail": {"PhysicalResourceId": name}}

    def get_object_lock_configuration(self, Bucket):  # noqa: N803
        if Bucket not in self.locks:
            raise ClientError({"Error": {"Code": self._refusal}}, "GetObjectLockConfiguration")
        return {"ObjectLockConfiguration": self.locks[Bucket]}

    def put_object_lock_configuration(self, Bucket, ObjectLockConfiguration):  # noqa: N803
        self.writes += 1
        self.locks[Bucket] = ObjectLockConfiguration


BUCKET = "santaclaude-local-audit-evidence"


@pytest.mark.parametrize(
    "before", [{}, {BUCKET: {"ObjectLockEnabled": "Enabled"}}], ids=["unlocked", "without a rule"]
)
def test_a_bucket_is_locked_as_its_template_says(before):
    cloud = Cloud(before)
    assert object_lock.complete(cloud) == [BUCKET]
    assert cloud.locks == {BUCKET: WANTED}


def test_what_is_locked_is_left_alone():
    cloud = Cloud({BUCKET: WANTED})
    assert object_lock.complete(cloud) == []
    assert cloud.writes == 0


def test_a_cloud_that_fails_is_not_taken_for_an_unlocked_bucket():
    with pytest.raises(ClientError):
        object_lock.complete(Cloud(refusal="InternalError"))
