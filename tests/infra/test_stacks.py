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
    assert {name.split("/", 3)[3] for name in names} == {"ai/api-id", "ai/api-url"}


def test_each_stack_has_layer_versions_of_its_own(templates):
    assert len(templates.resources("AWS::Lambda::LayerVersion", "ai")) == 3


def test_tables_are_encrypted_recoverable_and_forget(templates):
    for table in templates.resources("AWS::DynamoDB::GlobalTable").values():
        properties = table["Properties"]
        assert properties["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS"}
        assert properties["BillingMode"] == "PAY_PER_REQUEST"
        assert properties["TimeToLiveSpecification"]["AttributeName"] == "expires_at"
        (replica,) = properties["Replicas"]
        assert replica["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]


@pytest.mark.parametrize(("environment", "kept"), [("prod", "Retain"), ("local", "Delete")])
def test_data_is_kept_in_production_alone(request, environment, kept):
    templates = request.getfixturevalue(environment)
    for table in templates.resources("AWS::DynamoDB::GlobalTable").values():
        assert table["DeletionPolicy"] == kept
        (replica,) = table["Properties"]["Replicas"]
        assert replica["DeletionProtectionEnabled"] is (kept == "Retain")


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


def test_every_reviewed_acknowledgement_is_needed(local):
    given = {
        text
        for entries in local.metadata.values()
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
