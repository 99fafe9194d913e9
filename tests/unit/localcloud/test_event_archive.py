"""Archives are made as the deployed templates' metadata says, once."""

import pytest
from botocore.exceptions import ClientError

from infra.constructs.event_archive import METADATA
from localcloud import event_archive

ASKED = {
    "ArchiveName": "santaclaude-local-messaging",
    "EventBusName": "santaclaude-local",
    "EventPattern": '{"source": [{"prefix": "santaclaude."}]}',
    "RetentionDays": 30,
}
WANTED = {
    "ArchiveName": "santaclaude-local-messaging",
    "EventSourceArn": "arn:aws:events:us-east-1:000000000000:event-bus/santaclaude-local",
    "EventPattern": ASKED["EventPattern"],
    "RetentionDays": 30,
}
TEMPLATES = {
    "santaclaude-local-messaging": {"Metadata": {METADATA: [ASKED]}, "Resources": {}},
    "santaclaude-local-ai": {"Resources": {}},
    "CDKToolkit": "Resources:\n  StagingBucket: {}\n",
}


class Cloud:
    """CloudFormation and EventBridge with these stacks, and the archives that there are."""

    def __init__(self, archives=None, refusal="ResourceNotFoundException"):
        self.archives = dict(archives or {})
        self.deleted = []
        self._refusal = refusal

    @property
    def cloudformation(self):
        return self

    def client(self, service):
        assert service == "events"
        return self

    def get_paginator(self, operation):
        assert operation == "describe_stacks"
        return self

    def paginate(self):
        return [{"Stacks": [{"StackName": name}]} for name in TEMPLATES]

    def get_template(self, StackName):  # noqa: N803
        return {"TemplateBody": TEMPLATES[StackName]}

    def describe_archive(self, ArchiveName):  # noqa: N803
        if ArchiveName not in self.archives:
            raise ClientError({"Error": {"Code": self._refusal}}, "DescribeArchive")
        return {**self.archives[ArchiveName], "EventCount": 7}

    def create_archive(self, **wanted):
        assert wanted["ArchiveName"] not in self.archives
        self.archives[wanted["ArchiveName"]] = wanted

    def delete_archive(self, ArchiveName):  # noqa: N803
        self.deleted.append(ArchiveName)
        del self.archives[ArchiveName]


NAME = WANTED["ArchiveName"]


def test_the_name_of_the_metadata_is_the_constructs():
    assert event_archive.METADATA == METADATA


def test_an_archive_is_made_as_the_metadata_says():
    cloud = Cloud()
    assert event_archive.complete(cloud) == [NAME]
    assert cloud.archives == {NAME: WANTED}


def test_one_that_is_there_keeps_its_events():
    cloud = Cloud({NAME: WANTED})
    assert event_archive.complete(cloud) == []
    assert cloud.deleted == []


def test_one_that_was_made_otherwise_is_made_anew():
    cloud = Cloud({NAME: {**WANTED, "RetentionDays": 7}})
    assert event_archive.complete(cloud) == [NAME]
    assert cloud.archives == {NAME: WANTED}


def test_a_cloud_that_fails_is_not_taken_for_one_without_an_archive():
    with pytest.raises(ClientError):
        event_archive.complete(Cloud(refusal="InternalError"))
