"""Every function has the defaults, a role of its own, and the environment its code reads."""

import importlib
import json

import pytest

from contracts.ai.routing import RoutingSet
from functions.ai.domain.asking import MAX_ANSWER_SECONDS
from functions.ai.domain.retries import FIRST_CONTENT_SECONDS
from infra import web_adapter
from infra.bundles import ROOT

# Functions of the app by the last part of their name, with the settings model each reads.
SETTINGS = {
    "ai-api": ("functions.ai.settings", "ApiSettings"),
    "ai-stream": ("functions.ai.settings", "StreamSettings"),
    "ai-audit": ("functions.ai.settings", "AuditSettings"),
    "ai-worker": ("functions.ai.settings", "WorkerSettings"),
    "ai-dispatch": ("functions.ai.settings", "DispatchSettings"),
    "ai-upkeep": ("functions.ai.settings", "UpkeepSettings"),
    "ai-request-context": None,
    **{
        f"audit-{name}": ("functions.audit.settings", model)
        for name, model in {
            "archiver": "ArchiverSettings",
            "cold": "ColdSettings",
            "control": "ControlSettings",
            "exporter": "ExporterSettings",
            "ingest": "IngestSettings",
            "intake": "IngestSettings",
            "query": "QuerySettings",
            "reconciler": "ReconcilerSettings",
            "sealer": "SealerSettings",
            "watcher": "WatcherSettings",
        }.items()
    },
    **{
        f"browser-{name}": ("functions.browser.settings", model)
        for name, model in {
            "api": "ApiSettings",
            "audit": "AuditSettings",
            "reap": "ReaperSettings",
        }.items()
    },
    "browser-worker": ("functions.browser_worker.settings", "WorkerSettings"),
    **{
        f"messaging-{name}": ("functions.messaging.settings", model)
        for name, model in {
            "audit": "AuditSettings",
            "control": "ControlSettings",
            "publish": "PublishSettings",
            "relay": "RelaySettings",
            "tasks": "TasksSettings",
            "sweep": "SweepSettings",
            "push": "PushSettings",
            "socket": "SocketSettings",
            "deliver": "DeliverSettings",
            "due": "DueSettings",
        }.items()
    },
}


def functions(templates, stack=None):
    return {
        resource["Properties"]["FunctionName"].split("-", 2)[2]: (name, resource["Properties"])
        for name, resource in templates.resources("AWS::Lambda::Function", stack).items()
    }


def test_functions_are_those_known_here(prod, local):
    assert set(functions(local)) == set(SETTINGS)
    assert set(functions(prod)) == set(SETTINGS) - {"ai-request-context"}


def test_every_handler_is_there(templates):
    for name, (_, function) in functions(templates).items():
        # An image names its handler itself.
        handler = function.get("Handler", ".sh")
        if SETTINGS[name] and not handler.endswith(".sh"):
            module = handler.removesuffix(".handler").replace(".", "/")
            assert (ROOT / f"{module}.py").is_file(), name


def test_the_environment_is_what_the_settings_model_reads(templates):
    for name, (_, function) in functions(templates).items():
        given = set(function.get("Environment", {}).get("Variables", {}))
        if SETTINGS[name] is None:
            assert given == set()
            continue
        module, model = SETTINGS[name]
        fields = getattr(importlib.import_module(module), model).model_fields
        read = {field.upper() for field in fields}
        assert given - set(web_adapter.environment()) == read, name


@pytest.mark.parametrize("stack", ["ai", "audit"])
def test_defaults(templates, stack):
    aliases = {
        alias["Properties"]["FunctionName"]["Ref"]: alias["Properties"]["Name"]
        for alias in templates.resources("AWS::Lambda::Alias", stack).values()
    }
    groups = templates.resources("AWS::Logs::LogGroup", stack)
    roles = set()
    for name, (logical_id, function) in functions(templates, stack).items():
        assert function["Runtime"] == "python3.13"
        assert function["Architectures"] == ["arm64"]
        assert function["TracingConfig"] == {"Mode": "Active"}
        assert aliases[logical_id] == "live"
        logging = function["LoggingConfig"]
        assert logging["LogFormat"] == "JSON"
        group = groups[logging["LogGroup"]["Ref"]]["Properties"]
        assert group["LogGroupName"] == f"/aws/lambda/{function['FunctionName']}"
        roles.add(json.dumps(function["Role"]))
        assert len(function.get("Layers", [])) <= 5, name
    assert len(roles) == len(functions(templates, stack)), "a role serves two functions"


def test_every_log_group_forgets(templates):
    for group in templates.resources("AWS::Logs::LogGroup").values():
        assert group["Properties"]["RetentionInDays"] <= 365


def test_the_streamed_function_runs_behind_the_pinned_adapter(prod):
    _, function = functions(prod)["ai-stream"]
    assert function["Handler"] == "functions/ai/stream.sh"
    assert "753240598075:layer:LambdaAdapterLayerArm64:30" in json.dumps(function["Layers"])
    variables = function["Environment"]["Variables"]
    assert variables["AWS_LWA_INVOKE_MODE"] == "response_stream"
    assert variables["AWS_LWA_READINESS_CHECK_PATH"] == "/_lwa/ready"


def test_an_answer_ends_before_the_function_does(templates):
    """Time to store what is there and to end the stream."""
    for name in ("ai-stream", "ai-worker"):
        _, function = functions(templates)[name]
        assert function["Timeout"] >= MAX_ANSWER_SECONDS + 30


def test_a_silent_model_leaves_time_for_another(templates):
    """And for the answer of a call without a stream: API Gateway waits 300 s for a byte."""
    _, function = functions(templates)["ai-stream"]
    silence = float(function["Environment"]["Variables"]["MODEL_FIRST_BYTE_TIMEOUT_SECONDS"])
    assert 2 * silence < FIRST_CONTENT_SECONDS <= 300 / 2


def test_the_policy_of_the_deployment_is_one(templates):
    for name in ("ai-api", "ai-stream"):
        _, function = functions(templates)[name]
        RoutingSet.model_validate_json(function["Environment"]["Variables"]["ROUTING"])


def test_the_adapter_comes_from_each_partitions_own_account():
    assert web_adapter.layer_arn("eu-west-1").startswith("arn:aws:lambda:eu-west-1:753240598075")
    assert web_adapter.layer_arn("cn-north-1").startswith("arn:aws-cn:lambda:cn-north-1:0415811")
