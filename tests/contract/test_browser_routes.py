"""The browser pool's app serves the operations of the contract, and no others."""

import re
from typing import Any, cast

import pytest

from contracts.browser.operations import BROWSER_V1
from contracts.operation import Operation
from functions.browser.domain.dependencies import Api
from functions.browser.routes.apps import create_app
from tests.contract.reading import errors_of, limits

BY_ROUTE = {(operation.method, operation.path): operation for operation in BROWSER_V1.operations}
OPERATIONS = pytest.mark.parametrize(
    "operation", BROWSER_V1.operations, ids=lambda operation: operation.operation_id
)


def documents() -> dict[str, dict[str, Any]]:
    return {"api": create_app(cast("Api", None)).openapi()["paths"]}


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


@OPERATIONS
def test_parameters_are_read_as_written(
    operation: Operation, described: dict[tuple[str, str], dict[str, Any]]
) -> None:
    route = described[operation.method, operation.path]
    read = {
        parameter["name"]: (parameter["required"], limits(parameter["schema"]))
        for parameter in route.get("parameters", ())
        if parameter["in"] == "query"
    }
    assert read == {p.name: (p.required, limits(p.schema)) for p in operation.query}


@OPERATIONS
def test_names_are_those_of_the_contract(
    operation: Operation, described: dict[tuple[str, str], dict[str, Any]]
) -> None:
    route = described[operation.method, operation.path]
    assert re.match(rf"{operation.operation_id}_", route["operationId"])


def test_every_status_of_the_services_errors_is_documented() -> None:
    documented = {status for operation in BROWSER_V1.operations for status in operation.errors}
    statuses = {kind.status for kind in errors_of(("servicekit", "functions.browser"))} - {405}
    assert statuses <= documented


@OPERATIONS
def test_what_any_call_may_answer_is_documented(operation: Operation) -> None:
    # A reserved header, what nobody foresaw; no identity, a refusal of the gateway's; bodies; keys.
    statuses = {400, 500}
    statuses |= {401, 403} if operation.signed else set()
    statuses |= {413, 415} if operation.method == "post" else set()
    statuses |= {422} if operation.body else set()
    statuses |= {409} if operation.idempotent_by_key else set()
    assert statuses <= set(operation.errors)


def test_error_codes_are_told_apart() -> None:
    titles: dict[str, set[tuple[int, str]]] = {}
    for kind in errors_of(("servicekit", "functions.browser")):
        titles.setdefault(kind.code, set()).add((kind.status, kind.title))
    assert {code: kinds for code, kinds in titles.items() if len(kinds) > 1} == {}
