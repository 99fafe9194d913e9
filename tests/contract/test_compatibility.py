"""Today's contract does not break callers of the released one, and the check would see it."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.ai.operations import AI_V1
from contracts.audit.operations import AUDIT_V1
from contracts.operation import Contract
from scripts.contract_tools.compatibility import breaking_changes
from scripts.contract_tools.openapi import openapi

ROOT = Path(__file__).resolve().parents[2]
Document = dict[str, Any]
Change = Callable[[Document], object]


@pytest.mark.parametrize("contract", [AI_V1, AUDIT_V1], ids=lambda c: c.service)
def test_released_promises_are_kept(contract: Contract) -> None:
    path = ROOT / f"contracts/released/{contract.service}.{contract.version}.json"
    released = json.loads(path.read_text(encoding="utf-8"))
    assert breaking_changes(released, openapi(contract)) == []


def card_schema() -> Document:
    return {
        "type": "object",
        "required": ["title", "priority"],
        "properties": {
            "title": {"type": "string", "maxLength": 100},
            "priority": {"type": "string", "enum": ["low", "high"]},
            "points": {"type": "integer", "minimum": 1},
            "due": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
            "labels": {"type": "array", "items": {"type": "string"}},
            "parent": {"anyOf": [{"$ref": "#/components/schemas/NAME"}, {"type": "null"}]},
            "notify": {"type": "boolean", "default": True},
        },
    }


def named(name: str) -> Document:
    schema: Document = json.loads(json.dumps(card_schema()).replace("NAME", name))
    return schema


def baseline() -> Document:
    problem = {"description": "No.", "content": {"application/problem+json": {"schema": {}}}}
    post = {
        "operationId": "create_card",
        "security": [{"sigv4": []}],
        "parameters": [
            {
                "name": "limit",
                "in": "query",
                "required": False,
                "schema": {"type": "integer", "maximum": 100},
            },
            {"$ref": "#/components/parameters/Key"},
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Asked"}}},
        },
        "responses": {
            "200": {
                "description": "The card.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Told"}}},
            },
            "404": {"$ref": "#/components/responses/NotFound"},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Cards", "version": "v1"},
        "paths": {"/cards": {"post": post}},
        "components": {
            "schemas": {"Asked": named("Asked"), "Told": named("Told")},
            "parameters": {
                "Key": {"name": "Key", "in": "header", "schema": {"type": "string"}},
            },
            "responses": {"NotFound": problem},
        },
    }


def post(document: Document) -> Document:
    operation: Document = document["paths"]["/cards"]["post"]
    return operation


def asked(document: Document) -> Document:
    schema: Document = document["components"]["schemas"]["Asked"]
    return schema


def told(document: Document) -> Document:
    schema: Document = document["components"]["schemas"]["Told"]
    return schema


def rename(schema: Document, before: str, after: str) -> None:
    schema["properties"][after] = schema["properties"].pop(before)


def move(document: Document) -> None:
    document["paths"]["/v2/cards"] = document["paths"].pop("/cards")


BREAKING: dict[str, tuple[Change, str]] = {
    "endpoint lost": (lambda d: d["paths"].clear(), "POST /cards: lost"),
    "endpoint moved": (move, "POST /cards: lost"),
    "operation renamed": (
        lambda d: post(d).update(operationId="add_card"),
        "POST /cards: operationId create_card is now add_card",
    ),
    "security changed": (lambda d: post(d).update(security=[]), "POST /cards: security changed"),
    "parameter lost": (
        lambda d: post(d)["parameters"].pop(0),
        "POST /cards query parameter limit: lost",
    ),
    "shared parameter required": (
        lambda d: d["components"]["parameters"]["Key"].update(required=True),
        "POST /cards header parameter Key: newly required",
    ),
    "parameter added and required": (
        lambda d: post(d)["parameters"].append(
            {"name": "user_id", "in": "query", "required": True, "schema": {"type": "integer"}}
        ),
        "POST /cards query parameter user_id: newly required",
    ),
    "parameter narrowed": (
        lambda d: post(d)["parameters"][0]["schema"].update(maximum=50),
        "POST /cards query parameter limit: maximum is now 50",
    ),
    "parameter retyped": (
        lambda d: post(d)["parameters"][0].update(schema={"type": "string"}),
        "POST /cards query parameter limit: integer is no longer accepted",
    ),
    "request body lost": (lambda d: post(d).pop("requestBody"), "POST /cards request: lost"),
    "request media type lost": (
        lambda d: rename_media(post(d)["requestBody"]),
        "POST /cards request: no longer application/json",
    ),
    "answer status lost": (
        lambda d: post(d).update(responses={"201": post(d)["responses"]["200"]}),
        "POST /cards 200: lost",
    ),
    "problem media type lost": (
        lambda d: d["components"]["responses"]["NotFound"].update(content={}),
        "POST /cards 404: no longer application/problem+json",
    ),
    "asked field lost": (lambda d: asked(d)["properties"].pop("due"), "Asked.due: lost"),
    "asked field renamed": (lambda d: rename(asked(d), "due", "due_at"), "Asked.due: lost"),
    "asked field newly required": (
        lambda d: asked(d)["required"].append("due"),
        "Asked.due: newly required",
    ),
    "asked field added and required": (
        lambda d: (
            asked(d)["properties"].update(colour={"type": "string"}),
            asked(d)["required"].append("colour"),
        ),
        "Asked.colour: newly required",
    ),
    "asked field no longer nullable": (
        lambda d: asked(d)["properties"]["due"]["anyOf"].pop(1),
        "Asked.due: null is no longer accepted",
    ),
    "asked field retyped": (
        lambda d: asked(d)["properties"].update(points={"type": "string"}),
        "Asked.points: integer is no longer accepted",
    ),
    "asked value lost": (
        lambda d: asked(d)["properties"]["priority"]["enum"].remove("low"),
        "Asked.priority: lost the value 'low'",
    ),
    "asked field limited to values": (
        lambda d: asked(d)["properties"]["title"].update(enum=["a"]),
        "Asked.title: newly limited to ['a']",
    ),
    "asked text shortened": (
        lambda d: asked(d)["properties"]["title"].update(maxLength=99),
        "Asked.title: maxLength is now 99",
    ),
    "asked number bounded": (
        lambda d: asked(d)["properties"]["points"].update(minimum=2),
        "Asked.points: minimum is now 2",
    ),
    "asked text has a pattern": (
        lambda d: asked(d)["properties"]["title"].update(pattern="^A"),
        "Asked.title: pattern is now ^A",
    ),
    "asked default changed": (
        lambda d: asked(d)["properties"]["notify"].update(default=False),
        "Asked.notify: default True is now False",
    ),
    "asked items retyped": (
        lambda d: asked(d)["properties"]["labels"].update(items={"type": "integer"}),
        "Asked.labels[]: string is no longer accepted",
    ),
    "unknown fields refused": (
        lambda d: asked(d).update(additionalProperties=False),
        "Asked{}: not changed",
    ),
    "told field lost": (lambda d: told(d)["properties"].pop("points"), "Told.points: lost"),
    "told field renamed": (lambda d: rename(told(d), "points", "size"), "Told.points: lost"),
    "told field no longer guaranteed": (
        lambda d: told(d)["required"].remove("priority"),
        "Told.priority: no longer guaranteed",
    ),
    "told field newly nullable": (
        lambda d: told(d)["properties"].update(
            points={"anyOf": [{"type": "integer"}, {"type": "null"}]}
        ),
        "Told.points: may be null now",
    ),
    "told field retyped": (
        lambda d: told(d)["properties"].update(points={"type": "number"}),
        "Told.points: may be number now",
    ),
    "told format lost": (
        lambda d: told(d)["properties"]["due"]["anyOf"][0].pop("format"),
        "Told.due: format changed",
    ),
    "told value lost": (
        lambda d: told(d)["properties"]["priority"]["enum"].remove("high"),
        "Told.priority: lost the value 'high'",
    ),
    "told items retyped": (
        lambda d: told(d)["properties"]["labels"].update(items={"type": "object"}),
        "Told.labels[]: may be object now",
    ),
    "told became a list": (
        lambda d: post(d)["responses"]["200"]["content"].update(
            {"application/json": {"schema": {"type": "array", "items": {}}}}
        ),
        "POST /cards 200: may be array now",
    ),
    "something not understood": (
        lambda d: told(d)["properties"]["points"].update(
            {"anyOf": [{"type": "integer"}, {"type": "integer", "minimum": 5}]}
        ),
        "Told.points: changed in a way that is not understood",
    ),
}


def rename_media(holder: Document) -> None:
    holder["content"] = {"text/plain": holder["content"]["application/json"]}


ADDITIONS: dict[str, Change] = {
    "nothing": lambda _: None,
    "endpoint": lambda d: d["paths"].update({"/boards": {"get": post(d)}}),
    "method": lambda d: d["paths"]["/cards"].update(put=post(d)),
    "optional parameter": lambda d: post(d)["parameters"].append(
        {"name": "cursor", "in": "query", "required": False, "schema": {"type": "string"}}
    ),
    "wider parameter": lambda d: post(d)["parameters"][0]["schema"].update(maximum=500),
    "optional request field": lambda d: asked(d)["properties"].update(colour={"type": "string"}),
    "request field no longer required": lambda d: asked(d)["required"].remove("title"),
    "request field nullable": lambda d: asked(d)["properties"].update(
        points={"anyOf": [{"type": "number", "minimum": 1}, {"type": "null"}]}
    ),
    "request value": lambda d: asked(d)["properties"]["priority"]["enum"].append("urgent"),
    "request text may be longer": lambda d: asked(d)["properties"]["title"].pop("maxLength"),
    "request default": lambda d: asked(d)["properties"]["points"].update(default=1),
    "answer field": lambda d: told(d)["properties"].update(colour={"type": "string"}),
    "answer field guaranteed": lambda d: told(d)["required"].append("due"),
    "answer field never null": lambda d: told(d)["properties"]["due"]["anyOf"].pop(1),
    "answer value": lambda d: told(d)["properties"]["priority"]["enum"].append("urgent"),
    "status": lambda d: post(d)["responses"].update({"409": {"description": "No."}}),
    "problem no longer listed": lambda d: post(d)["responses"].pop("404"),
    "description": lambda d: told(d)["properties"]["title"].update(description="Its name."),
}


@pytest.mark.parametrize(("change", "message"), BREAKING.values(), ids=BREAKING.keys())
def test_sees_what_breaks(change: Change, message: str) -> None:
    changed = baseline()
    change(changed)
    assert message in breaking_changes(baseline(), changed)


@pytest.mark.parametrize("change", ADDITIONS.values(), ids=ADDITIONS.keys())
def test_lets_additions_pass(change: Change) -> None:
    changed = baseline()
    change(changed)
    assert breaking_changes(baseline(), changed) == []


def test_a_shared_schema_is_named_once() -> None:
    old = baseline()
    old["paths"]["/cards"]["put"] = copy.deepcopy(post(old)) | {"operationId": "put_card"}
    new = copy.deepcopy(old)
    told(new)["properties"].pop("points")
    assert breaking_changes(old, new) == ["Told.points: lost"]
