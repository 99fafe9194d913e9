"""Stacks deploy alone, keep what they must, and follow the rules or say why not."""

import json

import pytest

from infra import security, settings


def test_no_stack_leans_on_anothers_exports(templates):
    for name, template in templates.stacks.items():
        assert "Fn::ImportValue" not in json.dumps(template), name
        for output in template.get("Outputs", {}).values():
            assert "Export" not in output, name


def test_stacks_know_each_other_by_parameters(templates):
    names = {
        parameter["Properties"]["Name"]
        for parameter in templates.resources("AWS::SSM::Parameter").values()
    }
    assert {name.split("/", 3)[3] for name in names} == {
        f"{service}/{key}"
        for service in ("ai", "audit", "browser", "messaging")
        for key in ("api-id", "api-url")
    } | {"messaging/websocket-api-id", "messaging/websocket-url"}


def test_each_stack_has_layer_versions_of_its_own(templates):
    assert len(templates.resources("AWS::Lambda::LayerVersion", "ai")) == 3
    # One more for DuckDB.
    assert len(templates.resources("AWS::Lambda::LayerVersion", "audit")) == 4


def test_tables_are_encrypted_recoverable_and_forget(templates):
    for table in templates.resources("AWS::DynamoDB::GlobalTable").values():
        properties = table["Properties"]
        assert properties["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS"}
        assert properties["BillingMode"] == "PAY_PER_REQUEST"
        if properties["TableName"].endswith("-audit-keys"):
            continue
        assert properties["TimeToLiveSpecification"]["AttributeName"] == "expires_at"
        (replica,) = properties["Replicas"]
        assert replica["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]


@pytest.mark.parametrize("stack", ["ai", "audit", "browser"])
def test_buckets_are_closed_encrypted_and_want_tls(templates, stack):
    policies = {
        policy["Properties"]["Bucket"]["Ref"]: policy["Properties"]["PolicyDocument"]["Statement"]
        for policy in templates.resources("AWS::S3::BucketPolicy", stack).values()
    }
    for name, bucket in templates.resources("AWS::S3::Bucket", stack).items():
        properties = bucket["Properties"]
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        (rule,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        assert {"Bool": {"aws:SecureTransport": "false"}} in [
            statement.get("Condition")
            for statement in policies[name]
            if statement["Effect"] == "Deny"
        ]
        if not name.startswith("AccessLogs"):
            assert properties["LoggingConfiguration"]["LogFilePrefix"]


def test_images_end_even_where_no_deletion_ends_them(templates):
    buckets = templates.resources("AWS::S3::Bucket", "ai")
    (content,) = (bucket for name, bucket in buckets.items() if name.startswith("Content"))
    (rule,) = content["Properties"]["LifecycleConfiguration"]["Rules"]
    assert rule == {"ExpirationInDays": 365, "Status": "Enabled"}
    # A deletion of a version of many would leave the others.
    assert "VersioningConfiguration" not in content["Properties"]


def test_queues_are_encrypted_and_want_tls(templates):
    queues = templates.resources("AWS::SQS::Queue", "audit")
    policies = [
        (reference["Ref"], statement)
        for policy in templates.resources("AWS::SQS::QueuePolicy", "audit").values()
        for reference in policy["Properties"]["Queues"]
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
    ]
    for name, queue in queues.items():
        assert queue["Properties"]["SqsManagedSseEnabled"]
        conditions = [
            statement.get("Condition")
            for policy, statement in policies
            if policy == name and statement["Effect"] == "Deny"
        ]
        assert {"Bool": {"aws:SecureTransport": "false"}} in conditions


@pytest.mark.parametrize(("environment", "kept"), [("prod", "Retain"), ("local", "Delete")])
def test_data_is_kept_in_production_alone(request, environment, kept):
    templates = request.getfixturevalue(environment)
    for table in templates.resources("AWS::DynamoDB::GlobalTable").values():
        assert table["DeletionPolicy"] == kept
        (replica,) = table["Properties"]["Replicas"]
        assert replica["DeletionProtectionEnabled"] is (kept == "Retain")
    for key in templates.resources("AWS::KMS::Key").values():
        assert key["DeletionPolicy"] == kept
    for name, bucket in templates.resources("AWS::S3::Bucket").items():
        # Exports can be made again, browser sessions end within hours, and access logs are of no
        # use without what was accessed.
        passing = name.rpartition("/")[2].startswith(("Exported", "Objects", "AccessLogs"))
        assert bucket["DeletionPolicy"] == ("Delete" if passing else kept), name


def test_acknowledgements_are_those_reviewed(templates):
    reviewed = {reason.text for reason in security.Reason}
    given = {
        text
        for entries in templates.metadata.values()
        for entry in entries
        if entry["type"] == "aws:cdk:acknowledged-rules"
        for text in entry["data"].values()
    }
    assert given
    assert given <= reviewed


def test_every_reviewed_acknowledgement_is_needed(local, prod):
    given = {
        text
        for templates in (local, prod)
        for entries in templates.metadata.values()
        for entry in entries
        if entry["type"] == "aws:cdk:acknowledged-rules"
        for text in entry["data"].values()
    }
    assert {reason.text for reason in security.Reason} == given


def test_an_unknown_environment_is_refused():
    with pytest.raises(settings.InvalidSettingError, match="choose one of local, dev"):
        settings.load({"env": "production"}.get)


def test_settings_come_from_the_context():
    loaded = settings.load(
        {"env": "dev", "operators": "Admin, Ops", "additional_models": "llama3.2:1b"}.get
    )
    assert loaded.operator_role_names == ("Admin", "Ops")
    assert loaded.additional_models == ("llama3.2:1b",)
    assert settings.load({}.get).environment == "dev"


POLICY = {
    "default": [{"provider": "openai", "model": "gpt-5-mini", "weight": 3}],
    "fallbacks": [{"provider": "bedrock", "model": "amazon.nova-lite-v1:0"}],
    "summaries": {"model": {"provider": "bedrock", "model": "amazon.nova-micro-v1:0"}},
}


@pytest.mark.parametrize("given", [POLICY, json.dumps(POLICY)], ids=["cdk.json", "-c"])
def test_a_routing_policy_comes_from_the_context(given):
    assert json.loads(settings.load({"routing": given}.get).routing) == POLICY
    # Nobody pays for summaries who did not ask for them.
    nothing = {"default": [], "fallbacks": [], "summaries": None}
    assert json.loads(settings.load({}.get).routing) == nothing


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("nova", "Invalid JSON"),
        ('{"default": []}', "fallbacks: Field required"),
        ({"default": [{"provider": "p", "model": "m", "weight": 0}], "fallbacks": []}, "weight"),
    ],
)
def test_a_routing_policy_that_is_none_is_refused(given, reason):
    with pytest.raises(settings.InvalidSettingError, match=reason):
        settings.load({"routing": given}.get)


def test_only_the_local_cloud_has_an_endpoint():
    endpoint = "http://127.0.0.1:4566"
    assert settings.load({"env": "local", "endpoint": endpoint}.get).endpoint == endpoint
    with pytest.raises(settings.InvalidSettingError, match="is on AWS"):
        settings.load({"env": "dev", "endpoint": endpoint}.get)
