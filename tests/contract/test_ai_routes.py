"""The AI service's apps serve the operations of the contract, and no others."""

import re
from typing import Any, cast

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Route

from contracts.ai.operations import AI_V1
from contracts.operation import MAX_IDEMPOTENCY_KEY_LENGTH, Operation
from functions.ai.domain.dependencies import Api, Stream
from functions.ai.routes import buffered, streamed
from servicekit import idempotency, paging
from tests.contract.reading import errors_of, limits

BY_DELIVERY = {
    delivery: {
        (operation.method, operation.path): operation
        for operation in AI_V1.operations
        if operation.delivery == delivery
    }
    for delivery in ("buffered", "streamed")
}
BUFFERED = pytest.mark.parametrize(
    "operation", BY_DELIVERY["buffered"].values(), ids=lambda o: o.operation_id
)


@pytest.fixture(scope="module")
def buffered_app() -> FastAPI:
    return buffered.create_app(cast("Api", None))


@pytest.fixture(scope="module")
def described(buffered_app: FastAPI) -> dict[str, Any]:
    """What FastAPI itself reads from the routes."""
    document: dict[str, Any] = buffered_app.openapi()
    return document


def served(app: Starlette) -> set[tuple[str, str]]:
    return {
        (method.lower(), route.path)
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }


def test_buffered_app_serves_the_buffered_operations(described: dict[str, Any]) -> None:
    routes = {(method, path) for path, item in described["paths"].items() for method in item}
    assert routes == BY_DELIVERY["buffered"].keys()


def test_streamed_app_serves_the_streamed_operations() -> None:
    app = streamed.create_app(cast("Stream", None))
    readiness = {("get", streamed.WEB_ADAPTER_READY_PATH)}
    assert served(app) == BY_DELIVERY["streamed"].keys() | readiness


@BUFFERED
def test_parameters_are_read_as_written(operation: Operation, described: dict[str, Any]) -> None:
    route = described["paths"][operation.path][operation.method]
    read = {
        parameter["name"]: (parameter["required"], limits(parameter["schema"]))
        for parameter in route.get("parameters", ())
        if parameter["in"] == "query"
    }
    assert read == {p.name: (p.required, limits(p.schema)) for p in operation.query}


@BUFFERED
def test_names_are_those_of_the_contract(operation: Operation, described: dict[str, Any]) -> None:
    route = described["paths"][operation.path][operation.method]
    assert re.match(rf"{operation.operation_id}_", route["operationId"])


def test_limits_of_the_kit_are_those_of_the_contract() -> None:
    list_sessions = BY_DELIVERY["buffered"]["get", "/api/v1/sessions"]
    limit = next(p.schema for p in list_sessions.query if p.name == "limit")
    assert (limit["default"], limit["maximum"]) == (paging.DEFAULT_LIMIT, paging.MAX_LIMIT)
    assert idempotency.MAX_KEY_LENGTH == MAX_IDEMPOTENCY_KEY_LENGTH


def test_every_status_of_the_services_errors_is_documented() -> None:
    documented = {status for operation in AI_V1.operations for status in operation.errors}
    documented |= {a.status for operation in AI_V1.operations for a in operation.answers}
    # 405 is no operation's answer: there is no such operation then.
    statuses = {kind.status for kind in errors_of(("servicekit", "functions.ai"))} - {405}
    assert statuses <= documented


@pytest.mark.parametrize("operation", AI_V1.operations, ids=lambda o: o.operation_id)
def test_what_any_call_may_answer_is_documented(operation: Operation) -> None:
    # A reserved header, what nobody foresaw; no identity, a refusal of the gateway's; bodies; keys.
    statuses = {400, 500}
    statuses |= {401, 403} if operation.signed else set()
    statuses |= {413, 415, 422} if operation.body else set()
    statuses |= {409} if operation.idempotent_by_key else set()
    assert statuses <= set(operation.errors)


def test_error_codes_are_told_apart() -> None:
    titles: dict[str, set[tuple[int, str]]] = {}
    for kind in errors_of(("servicekit", "functions.ai")):
        titles.setdefault(kind.code, set()).add((kind.status, kind.title))
    ambiguous = {code: sorted(kinds) for code, kinds in titles.items() if len(kinds) > 1}
    assert ambiguous == {}
