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
from contracts.operation import Answer, Operation
from scripts.contract_tools.openapi import json_schemas, used_models

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = pytest.mark.parametrize("operation", AI_V1.operations, ids=lambda o: o.operation_id)


@pytest.fixture(scope="module")
def exporter() -> ModuleType:
    path = ROOT / "scripts" / "export_contracts.py"
    spec = importlib.util.spec_from_file_location("export_contracts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    written: dict[str, Any] = json.loads(
        (ROOT / "contracts/openapi/ai.v1.json").read_text(encoding="utf-8")
    )
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


def test_openapi_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_json_schemas_are_valid() -> None:
    for schema in json_schemas(AI_V1).values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_operations_are_told_apart() -> None:
    ids = [operation.operation_id for operation in AI_V1.operations]
    routes = [(operation.method, operation.path) for operation in AI_V1.operations]
    assert len(set(ids)) == len(ids)
    assert len(set(routes)) == len(routes)


@OPERATIONS
def test_path_parameters_are_declared(operation: Operation) -> None:
    in_path = {part[1:-1] for part in operation.path.split("/") if part.startswith("{")}
    assert {parameter.name for parameter in operation.path_parameters} == in_path


@OPERATIONS
def test_every_operation_but_health_is_signed(
    operation: Operation, document: dict[str, Any]
) -> None:
    described = document["paths"][operation.path][operation.method]
    expected: list[dict[str, list[str]]] = [] if operation.path == "/health" else [{"sigv4": []}]
    assert described["security"] == expected


@OPERATIONS
def test_model_calls_are_streamed(operation: Operation, document: dict[str, Any]) -> None:
    described = document["paths"][operation.path][operation.method]
    streamed = operation.path.startswith("/api/v1/chat")
    assert described["x-delivery"] == ("streamed" if streamed else "buffered")


@OPERATIONS
def test_calls_that_create_or_cost_take_an_idempotency_key(operation: Operation) -> None:
    assert operation.idempotent_by_key == (operation.method == "post")


@OPERATIONS
def test_examples_are_what_the_models_write(operation: Operation) -> None:
    answers: list[Answer | None] = [operation.answer, operation.not_well]
    for answer in filter(None, answers):
        for example in answer.example if answer.is_list else [answer.example]:
            assert answer.model.model_validate(example).model_dump(mode="json") == example
    if operation.body is not None:
        operation.body.model_validate(operation.body_example)


@OPERATIONS
def test_examples_meet_the_schemas(operation: Operation) -> None:
    schemas = json_schemas(AI_V1)
    if operation.body is not None:
        jsonschema.validate(operation.body_example, schemas[operation.body.__name__])
    answer = operation.answer
    for example in answer.example if answer.is_list else [answer.example]:
        jsonschema.validate(example, schemas[answer.model.__name__])


def test_a_body_is_either_asked_or_answered() -> None:
    # One schema per model is exported: that of requests, or that of answers.
    asked = {operation.body for operation in AI_V1.operations if operation.body}
    answered = {operation.answer.model for operation in AI_V1.operations}
    assert not asked & answered
    assert asked | answered <= set(used_models(AI_V1.operations))
