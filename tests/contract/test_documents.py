"""The committed documents are what the contracts say today."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from contracts.ai.operations import AI_V1
from contracts.audit.operations import AUDIT_V1
from contracts.browser.operations import BROWSER_V1
from contracts.messaging.operations import MESSAGING_V1
from contracts.operation import Contract, Operation
from scripts.contract_tools.openapi import json_schemas, used_models

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = pytest.mark.parametrize(
    "contract", [AI_V1, AUDIT_V1, BROWSER_V1, MESSAGING_V1], ids=lambda c: c.service
)
OPERATIONS = pytest.mark.parametrize(
    ("contract", "operation"),
    [
        (contract, operation)
        for contract in (AI_V1, AUDIT_V1, BROWSER_V1, MESSAGING_V1)
        for operation in contract.operations
    ],
    ids=lambda value: value.service if isinstance(value, Contract) else value.operation_id,
)
# They may be repeated as they are: nothing is made twice, or nothing that lasts. A ticket is told
# once and could not be told again; one that nobody uses is nothing after a minute.
REPEATABLE_POSTS = {
    "create_ticket",
    "test_subscription",
    "flush",
    "cancel_turn",
    "report_deliveries",
    "cancel_redrive",
    "cancel_replay",
    # What is done in a browser is done: told again, it would be done again, and its answer is too
    # large to be kept.
    "run_steps",
    "run_task",
    "create_page",
    "navigate",
    "screenshot",
    "pdf",
    "act",
    "evaluate",
    "wait",
    "content",
    "aria",
}


@pytest.fixture(scope="module")
def exporter() -> ModuleType:
    path = ROOT / "scripts" / "export_contracts.py"
    spec = importlib.util.spec_from_file_location("export_contracts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def document(contract: Contract) -> dict[str, Any]:
    """The committed OpenAPI document."""
    path = ROOT / f"contracts/openapi/{contract.service}.{contract.version}.json"
    written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return written


def test_committed_documents_are_current(exporter: ModuleType) -> None:
    assert exporter.stale(ROOT / "contracts") == []


def test_check_names_what_differs(
    exporter: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = ["--directory", str(tmp_path)]
    assert exporter.main(here) == 0
    assert exporter.main([*here, "--check"]) == 0
    (tmp_path / "openapi/ai.v1.json").write_text("{}\n", encoding="utf-8")
    (tmp_path / "schemas/ai/v1/Chat.json").write_text("{}\n", encoding="utf-8")
    (tmp_path / "schemas/ai/v1/Message.json").unlink()
    capsys.readouterr()

    assert exporter.main([*here, "--check"]) == 1
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[:-1]] == [
        "contracts/openapi/ai.v1.json",
        "contracts/schemas/ai/v1/Chat.json",
        "contracts/schemas/ai/v1/Message.json",
    ]
    assert exporter.main(here) == 0
    assert exporter.stale(tmp_path) == []


def test_release_refuses_to_break_callers(
    exporter: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = ["--directory", str(tmp_path), "--release"]
    assert exporter.main(release) == 0
    path = tmp_path / "released/ai.v1.json"
    released = json.loads(path.read_text(encoding="utf-8"))
    released["paths"]["/api/v1/lost"] = {"get": released["paths"]["/health"]["get"]}
    path.write_text(json.dumps(released), encoding="utf-8")

    assert exporter.main(release) == 1
    assert "breaking: GET /api/v1/lost: lost" in capsys.readouterr().out
    assert json.loads(path.read_text(encoding="utf-8")) == released


@CONTRACTS
def test_openapi_is_valid(contract: Contract) -> None:
    written = document(contract)
    assert written["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(written).validate()


@CONTRACTS
def test_json_schemas_are_valid(contract: Contract) -> None:
    for schema in json_schemas(contract).values():
        jsonschema.Draft202012Validator.check_schema(schema)


@CONTRACTS
def test_operations_are_told_apart(contract: Contract) -> None:
    ids = [operation.operation_id for operation in contract.operations]
    routes = [(operation.method, operation.path) for operation in contract.operations]
    assert len(set(ids)) == len(ids)
    assert len(set(routes)) == len(routes)


@OPERATIONS
def test_path_parameters_are_declared(contract: Contract, operation: Operation) -> None:
    in_path = {part[1:-1] for part in operation.path.split("/") if part.startswith("{")}
    assert {parameter.name for parameter in operation.path_parameters} == in_path


@OPERATIONS
def test_every_operation_but_health_is_signed(contract: Contract, operation: Operation) -> None:
    described = document(contract)["paths"][operation.path][operation.method]
    expected: list[dict[str, list[str]]] = [] if operation.path == "/health" else [{"sigv4": []}]
    assert described["security"] == expected


@OPERATIONS
def test_model_calls_are_streamed(contract: Contract, operation: Operation) -> None:
    described = document(contract)["paths"][operation.path][operation.method]
    others = {"follow_turn", "export_user"}
    streamed = operation.path.startswith("/api/v1/chat") or operation.operation_id in others
    assert described["x-delivery"] == ("streamed" if streamed else "buffered")


@OPERATIONS
def test_calls_that_create_or_cost_take_an_idempotency_key(
    contract: Contract, operation: Operation
) -> None:
    costs = operation.method == "post" and operation.operation_id not in REPEATABLE_POSTS
    assert operation.idempotent_by_key == costs


@OPERATIONS
def test_examples_are_what_the_models_write(contract: Contract, operation: Operation) -> None:
    for answer in operation.answers:
        for example in answer.example if answer.is_list else [answer.example]:
            assert answer.model.model_validate(example).model_dump(mode="json") == example
    if operation.body is not None:
        operation.body.model_validate(operation.body_example)


@OPERATIONS
def test_examples_meet_the_schemas(contract: Contract, operation: Operation) -> None:
    schemas = json_schemas(contract)
    if operation.body is not None:
        jsonschema.validate(operation.body_example, schemas[operation.body.__name__])
    for answer in operation.answers:
        for example in answer.example if answer.is_list else [answer.example]:
            jsonschema.validate(example, schemas[answer.model.__name__])


@CONTRACTS
def test_a_body_is_either_asked_or_answered(contract: Contract) -> None:
    # One schema per model is exported: that of requests, or that of answers.
    asked = {operation.body for operation in contract.operations if operation.body}
    answered = {answer.model for operation in contract.operations for answer in operation.answers}
    assert not asked & answered
    assert asked | answered <= set(used_models(contract.operations))
