"""The message service's apps serve the operations of the contract, and no others."""

import re
from typing import Any, cast

import pytest
from fastapi import FastAPI

from contracts.messaging import publishing
from contracts.messaging.operations import MESSAGING_V1
from contracts.operation import Operation
from functions.messaging.domain.dependencies import Control, Publish
from functions.messaging.routes.apps import create_control_app, create_publish_app
from servicekit import paging
from tests.contract.reading import errors_of, limits

BY_ROUTE = {(operation.method, operation.path): operation for operation in MESSAGING_V1.operations}
OPERATIONS = pytest.mark.parametrize(
    "operation", MESSAGING_V1.operations, ids=lambda operation: operation.operation_id
)
# Each of the things in their body has its conflict in its own result.
IN_BATCHES = {"publish_batch", "post_progress_batch"}


def documents() -> dict[str, dict[str, Any]]:
    apps: dict[str, FastAPI] = {
        "publish": create_publish_app(cast("Publish", None)),
        "control": create_control_app(cast("Control", None)),
    }
    return {name: app.openapi()["paths"] for name, app in apps.items()}


@pytest.fixture(scope="module")
def described() -> dict[tuple[str, str], dict[str, Any]]:
    """What FastAPI itself reads from the routes of all apps."""
    return {
        (method, path): route
        for paths in documents().values()
        for path, item in paths.items()
        for method, route in item.items()
    }


def test_every_operation_is_served_by_one_app() -> None:
    served = [
        (method, path)
        for paths in documents().values()
        for path, item in paths.items()
        for method in item
    ]
    assert sorted(served) == sorted(BY_ROUTE)


def test_each_app_serves_the_operations_of_its_tag() -> None:
    for name, paths in documents().items():
        for path, item in paths.items():
            assert {BY_ROUTE[method, path].tag for method in item} == {name}


@OPERATIONS
def test_parameters_are_read_as_written(
    operation: Operation, described: dict[tuple[str, str], dict[str, Any]]
) -> None:
    route = described[operation.method, operation.path]
    read = {
        (parameter["in"], parameter["name"]): (parameter["required"], limits(parameter["schema"]))
        for parameter in route.get("parameters", ())
        if parameter["in"] in {"query", "path"}
    }
    written = {("query", p.name): (p.required, limits(p.schema)) for p in operation.query}
    written |= {("path", p.name): (p.required, limits(p.schema)) for p in operation.path_parameters}
    assert read == written


@OPERATIONS
def test_names_are_those_of_the_contract(
    operation: Operation, described: dict[tuple[str, str], dict[str, Any]]
) -> None:
    route = described[operation.method, operation.path]
    assert re.match(rf"{operation.operation_id}_", route["operationId"])


def test_limits_of_the_kit_are_those_of_the_contract() -> None:
    assert paging.MAX_LIMIT == publishing.MAX_CHAIN_LIMIT
    assert paging.DEFAULT_LIMIT == publishing.DEFAULT_CHAIN_LIMIT


def test_every_status_of_the_services_errors_is_documented() -> None:
    documented = {status for operation in MESSAGING_V1.operations for status in operation.errors}
    statuses = {kind.status for kind in errors_of(("servicekit", "functions.messaging"))} - {405}
    assert statuses <= documented


@OPERATIONS
def test_what_any_call_may_answer_is_documented(operation: Operation) -> None:
    # A reserved header, what nobody foresaw; no identity, a refusal of the gateway's; bodies; keys.
    statuses = {400, 500}
    statuses |= {401, 403} if operation.signed else set()
    statuses |= {413, 415} if operation.method == "post" else set()
    statuses |= {422} if operation.body else set()
    keyed = operation.idempotent_by_key and operation.operation_id not in IN_BATCHES
    statuses |= {409} if keyed else set()
    assert statuses <= set(operation.errors)


def test_error_codes_are_told_apart() -> None:
    titles: dict[str, set[tuple[int, str]]] = {}
    for kind in errors_of(("servicekit", "functions.messaging")):
        titles.setdefault(kind.code, set()).add((kind.status, kind.title))
    assert {code: kinds for code, kinds in titles.items() if len(kinds) > 1} == {}
