"""The browser's function is alone with one session, and may do nothing but log."""

import json

import aws_cdk as cdk
import pytest
from aws_cdk import assertions, aws_logs

from infra import security
from infra.constructs.browser_worker import BUILT, BrowserWorker
from tests.conftest import ROOT
from tests.conftest import synthesize as synthesize_app

DIGEST = "sha256:" + "0" * 64
NAME = "santaclaude-dev-browser-worker"


def synthesize(image):
    app = cdk.App(context={"aws:cdk:bundling-stacks": []})
    stack = cdk.Stack(app, "Browser")
    worker(stack, image)
    # It fails the synthesis where a rule is broken that nobody acknowledged.
    security.check(app)
    return assertions.Template.from_stack(stack)


def worker(stack, image):
    BrowserWorker(
        stack,
        "Worker",
        name=NAME,
        service="browser",
        timeout=cdk.Duration.minutes(5),
        log_retention=aws_logs.RetentionDays.TWO_WEEKS,
        environment={"ENVIRONMENT": "dev"},
        image=image,
    )


@pytest.fixture(scope="module")
def template():
    return synthesize(f"browser@{DIGEST}")


def only(template, kind):
    (found,) = template.find_resources(kind).values()
    return found["Properties"]


def test_an_environment_belongs_to_one_session(template):
    function = only(template, "AWS::Lambda::Function")
    assert function["TenancyConfig"] == {"TenantIsolationMode": "PER_TENANT"}
    assert function["PackageType"] == "Image"
    assert function["Architectures"] == ["arm64"]
    # Both are refused beside tenant isolation.
    assert "SnapStart" not in function
    assert not template.find_resources("AWS::Lambda::Url")


def test_its_role_may_write_its_log_and_nothing_else(template):
    role = only(template, "AWS::IAM::Role")
    assert "ManagedPolicyArns" not in role
    (statement,) = only(template, "AWS::IAM::Policy")["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    (log_group,) = template.find_resources("AWS::Logs::LogGroup")
    assert statement["Resource"] == {"Fn::GetAtt": [log_group, "Arn"]}
    assert only(template, "AWS::Logs::LogGroup")["LogGroupName"] == f"/aws/lambda/{NAME}"


@pytest.mark.parametrize(
    ("image", "end"), [(f"browser@{DIGEST}", f"/browser@{DIGEST}"), ("browser:7", "/browser:7")]
)
def test_the_image_is_the_one_that_was_named(image, end):
    uri = only(synthesize(image), "AWS::Lambda::Function")["Code"]["ImageUri"]
    assert uri["Fn::Join"][1][-1].endswith(end)


def test_the_image_is_built_by_the_deployment_where_that_is_asked_for(tmp_path):
    """From what the Dockerfile copies, and nothing else of the repository."""
    app = cdk.App(outdir=str(tmp_path), context={"aws:cdk:bundling-stacks": []})
    worker(cdk.Stack(app, "Browser"), BUILT)
    app.synth()
    assets = json.loads((tmp_path / "Browser.assets.json").read_text())
    (image,) = assets["dockerImages"].values()
    assert image["source"]["dockerFile"] == "images/browser/Dockerfile"
    assert image["source"]["platform"] == "linux/arm64"
    folder = tmp_path / image["source"]["directory"]
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        "contracts",
        "functions",
        "images",
        "layers",
    }
    assert [path.name for path in (folder / "functions").iterdir() if path.is_dir()] == [
        "browser_worker"
    ]
    for line in (ROOT / "images/browser/Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (folder / source).exists(), source


def test_without_a_browser_there_is_no_pool():
    assert "browser" not in synthesize_app("dev", browser_image="").stacks


def test_in_the_local_cloud_it_is_the_machines_own(local):
    (worker,) = [
        function["Properties"]
        for function in local.resources("AWS::Lambda::Function", "browser").values()
        if function["Properties"]["FunctionName"] == "santaclaude-local-browser-worker"
    ]
    assert worker["Environment"]["Variables"]["CHROMIUM_PATH"] == "/usr/bin/chromium"
    assert "TenancyConfig" not in worker


def test_dispatchers_hold_what_the_browser_does_not(prod):
    policies = json.dumps(prod.resources("AWS::IAM::Policy", "browser"))
    assert policies.count("lambda:InvokeFunction") >= 1
    (api,) = [
        function["Properties"]["Environment"]["Variables"]
        for function in prod.resources("AWS::Lambda::Function", "browser").values()
        if function["Properties"]["FunctionName"] == "santaclaude-prod-browser-api"
    ]
    assert api["WORKER_TENANTS"] == "true"
