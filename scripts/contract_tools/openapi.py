"""Makes the OpenAPI 3.1 document and the JSON Schemas of a contract."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from contracts.json_schema import DIALECT, Untitled, json_schema
from contracts.operation import (
    JSON_MEDIA_TYPE,
    MAX_IDEMPOTENCY_KEY_LENGTH,
    Answer,
    Contract,
    Operation,
    Parameter,
)
from contracts.problem import PROBLEM_MEDIA_TYPE, Problem

_REF = "#/components/schemas/{model}"
# RFC 9110 renamed them, and Python only from 3.13 on.
_NEWER_PHRASES = {413: "Content Too Large", 422: "Unprocessable Content"}
_RETRYABLE = (
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)

_HEADER_PARAMETERS: dict[str, Any] = {
    "RequestId": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "Names the request in every log; made when absent or malformed.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:=-]{1,128}$"},
    },
    "TraceParent": {
        "name": "traceparent",
        "in": "header",
        "description": "W3C trace context; continued by the service.",
        "schema": {"type": "string"},
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": (
            "A key of the caller's making. The same key and body get the first answer again; the "
            "same key with another body is a 409."
        ),
        "schema": {
            "type": "string",
            "pattern": f"^[!-~]{{1,{MAX_IDEMPOTENCY_KEY_LENGTH}}}$",
        },
    },
}

_ANSWER_HEADERS: dict[str, Any] = {
    "RequestId": {
        "description": "The id under which the request was logged.",
        "schema": {"type": "string"},
    },
    "RetryAfter": {
        "description": "Seconds to wait before trying again, when known.",
        "schema": {"type": "integer", "minimum": 0},
    },
}


def used_models(operations: Iterable[Operation]) -> dict[type[BaseModel], JsonSchemaMode]:
    """The bodies of the operations: requests as they are read, answers as they are written."""
    models: dict[type[BaseModel], JsonSchemaMode] = {}
    for operation in operations:
        if operation.body is not None:
            models[operation.body] = "validation"
        for answer in operation.answers:
            models[answer.model] = "serialization"
    models[Problem] = "serialization"
    return models


def json_schemas(contract: Contract) -> dict[str, dict[str, Any]]:
    """One self-contained JSON Schema per body and per message, by the model's name."""
    messages: dict[type[BaseModel], JsonSchemaMode] = dict.fromkeys(
        contract.messages, "serialization"
    )
    return {
        model.__name__: json_schema(model, mode)
        for model, mode in (used_models(contract.operations) | messages).items()
    }


def openapi(contract: Contract) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the contract."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in contract.operations:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    _, definitions = models_json_schema(
        list(used_models(contract.operations).items()),
        ref_template=_REF,
        schema_generator=Untitled,
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": contract.title,
            "version": contract.version,
            "description": contract.description,
        },
        "jsonSchemaDialect": DIALECT,
        "servers": [{"url": contract.local_url, "description": "The local cloud's front door"}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(definitions["$defs"].items())),
            "responses": {
                _problem_name(status): _problem(status)
                for status in sorted({s for o in contract.operations for s in o.errors})
            },
            "parameters": _HEADER_PARAMETERS,
            "headers": _ANSWER_HEADERS,
            "securitySchemes": {
                "sigv4": {
                    "type": "apiKey",
                    "name": "Authorization",
                    "in": "header",
                    "description": "AWS Signature Version 4, service `execute-api`.",
                    "x-amazon-apigateway-authtype": "awsSigv4",
                }
            },
        },
    }


def as_text(document: Mapping[str, Any]) -> str:
    """The document as it is committed."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.operation_id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "x-delivery": operation.delivery,
        "security": [{"sigv4": []}] if operation.signed else [],
    }
    if operation.description:
        described["description"] = operation.description
    described["parameters"] = [
        *(_parameter(parameter, "path") for parameter in operation.path_parameters),
        *(_parameter(parameter, "query") for parameter in operation.query),
        {"$ref": "#/components/parameters/RequestId"},
        {"$ref": "#/components/parameters/TraceParent"},
    ]
    if operation.idempotent_by_key:
        described["parameters"].append({"$ref": "#/components/parameters/IdempotencyKey"})
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {
                JSON_MEDIA_TYPE: {
                    "schema": _reference(operation.body),
                    "example": operation.body_example,
                }
            },
        }
    responses = {answer.status: _answer(answer) for answer in operation.answers}
    responses |= {status: _problem_reference(status) for status in operation.errors}
    described["responses"] = {str(status): responses[status] for status in sorted(responses)}
    return described


def _parameter(parameter: Parameter, where: Literal["path", "query"]) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": where,
        "required": parameter.required,
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _answer(answer: Answer) -> dict[str, Any]:
    schema = _reference(answer.model)
    return {
        "description": answer.description,
        "headers": {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}},
        "content": {
            answer.media_type: {
                "schema": {"type": "array", "items": schema} if answer.is_list else schema,
                "example": answer.example,
            }
        },
    }


def _phrase(status: int) -> str:
    return _NEWER_PHRASES.get(status) or HTTPStatus(status).phrase


def _problem_name(status: int) -> str:
    return _phrase(status).replace(" ", "")


def _problem_reference(status: int) -> dict[str, Any]:
    return {"$ref": f"#/components/responses/{_problem_name(status)}"}


def _problem(status: int) -> dict[str, Any]:
    headers = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
    if status in _RETRYABLE:
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    return {
        "description": _phrase(status),
        "headers": headers,
        "content": {PROBLEM_MEDIA_TYPE: {"schema": _reference(Problem)}},
    }


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": _REF.format(model=model.__name__)}
