"""Events: their schemas, what was released of them, and their AsyncAPI document."""

import copy
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from contracts.event import EventType
from contracts.messaging.registry import EVENT_TYPES
from contracts.messaging.streams import ALL_STREAMS, ROUTED_TYPES, stream_of
from functions.messaging.adapters.schemas import EventSchemas
from scripts import export_contracts
from scripts.contract_tools.asyncapi import asyncapi
from scripts.contract_tools.compatibility import breaking_event_changes

ROOT = Path(__file__).resolve().parents[2]
RELEASED = ROOT / "contracts/released/events"
# Of @asyncapi/specs 6.11.1 (Apache-2.0), `schemas/3.0.0-without-$id.json`.
ASYNCAPI_SCHEMA = ROOT / "tests/fixtures/asyncapi-3.0.0.schema.json.gz"
TYPES = pytest.mark.parametrize("event", EVENT_TYPES.values(), ids=lambda event: event.name)
Document = dict[str, Any]


def read(path: Path) -> Document:
    document: Document = json.loads(path.read_text(encoding="utf-8"))
    return document


def test_every_routed_type_has_a_schema() -> None:
    assert set(ROUTED_TYPES) <= EVENT_TYPES.keys()


@TYPES
def test_examples_are_what_is_sent_and_meet_the_schema(event: EventType) -> None:
    schema = read(ROOT / event.schema_path)
    example = read(ROOT / f"contracts/events/{event.name}/v1.example.json")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(example, schema)
    assert event.model.model_validate(example).model_dump(mode="json") == example
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**example, schema["required"][0]: None}, schema)


@TYPES
def test_examples_leave_nothing_out(event: EventType) -> None:
    assert event.example.keys() == event.model.model_fields.keys()


@TYPES
def test_limits_are_those_of_json_schema(event: EventType) -> None:
    """Pydantic writes `ge` where it does not know how to say `minimum`: nobody would hold it."""
    if event.name != "audit.event":
        assert '"ge"' not in json.dumps(event.schema())


# What was released.


@TYPES
def test_released_promises_are_kept(event: EventType) -> None:
    released = read(RELEASED / event.name / "v1.schema.json")
    assert breaking_event_changes(released, event.schema()) == []


def test_no_released_type_is_lost() -> None:
    assert {path.parent.name for path in RELEASED.glob("*/v1.schema.json")} <= EVENT_TYPES.keys()


@TYPES
def test_what_was_sent_once_is_accepted_still(event: EventType) -> None:
    examples = sorted((RELEASED / event.name).glob("v1.example-*.json"))
    assert examples
    for path in examples:
        EventSchemas().check(event.name, read(path))
        event.model.model_validate(read(path))


@TYPES
def test_what_is_sent_now_meets_what_consumers_were_told(event: EventType) -> None:
    jsonschema.validate(event.example, read(RELEASED / event.name / "v1.schema.json"))


def moved() -> Document:
    return EVENT_TYPES["card.moved"].schema()


def job() -> Document:
    return EVENT_TYPES["automation.job.completed"].schema()


def _set(document: Document, *path: str | int, value: Any) -> None:
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value


CHANGES: dict[str, tuple[Callable[[], Document], Callable[[Document], object], list[str]]] = {
    "a new optional field": (
        moved,
        lambda d: _set(d, "properties", "note", value={"type": "string"}),
        [],
    ),
    "another description": (moved, lambda d: _set(d, "description", value="Moved."), []),
    "a new required field": (
        moved,
        lambda d: (
            _set(d, "properties", "note", value={"type": "string"}),
            d["required"].append("note"),
        ),
        ["publishers: .note: newly required"],
    ),
    "a lost field": (
        moved,
        lambda d: d["properties"].pop("board_id"),
        ["publishers: .board_id: lost", "consumers: .board_id: lost"],
    ),
    "a field that may be missing now": (
        moved,
        lambda d: d["required"].remove("card_id"),
        ["consumers: .card_id: no longer guaranteed"],
    ),
    "another type": (
        moved,
        lambda d: _set(d, "properties", "card_id", "type", value="string"),
        [
            "publishers: .card_id: integer is no longer accepted",
            "consumers: .card_id: may be string now",
        ],
    ),
    "a smaller range": (
        moved,
        lambda d: _set(d, "properties", "card_id", "minimum", value=100),
        ["publishers: .card_id: minimum is now 100"],
    ),
    "a field that may be null now": (
        moved,
        lambda d: _set(
            d,
            "properties",
            "card_id",
            value={"anyOf": [d["properties"]["card_id"], {"type": "null"}]},
        ),
        ["consumers: .card_id: may be null now"],
    ),
    "a lost value": (
        job,
        lambda d: d["properties"]["status"]["enum"].remove("cancelled"),
        [
            "publishers: .status: lost the value 'cancelled'",
            "consumers: .status: lost the value 'cancelled'",
        ],
    ),
    "another format": (
        moved,
        lambda d: _set(d, "properties", "moved_at", "format", value="date"),
        ["publishers: .moved_at: format changed", "consumers: .moved_at: format changed"],
    ),
}


@pytest.mark.parametrize(("made", "change", "expected"), CHANGES.values(), ids=CHANGES)
def test_changes_of_a_schema(
    made: Callable[[], Document], change: Callable[[Document], object], expected: list[str]
) -> None:
    current = made()
    change(current)
    assert breaking_event_changes(made(), current) == expected


def test_a_release_refuses_what_breaks_and_keeps_old_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export_contracts.release_events(tmp_path)
    folder = tmp_path / "released/events/card.moved"
    assert len(list(folder.glob("v1.example-*.json"))) == 1
    event = EVENT_TYPES["card.moved"]
    changed = EventType(event.model, {**event.example, "to_position": 9})
    monkeypatch.setattr(export_contracts, "EVENT_TYPES", {**EVENT_TYPES, event.name: changed})
    assert export_contracts.release_events(tmp_path)
    assert export_contracts.release_events(tmp_path)
    assert len(list(folder.glob("v1.example-*.json"))) == 2

    schema = read(folder / "v1.schema.json")
    schema["properties"]["gone"] = {"type": "string"}
    (folder / "v1.schema.json").write_text(json.dumps(schema), encoding="utf-8")
    capsys.readouterr()
    assert not export_contracts.release_events(tmp_path)
    assert "breaking: card.moved consumers: .gone: lost" in capsys.readouterr().out
    assert read(folder / "v1.schema.json") == schema


# AsyncAPI.


@pytest.fixture(scope="module")
def document() -> Document:
    return read(ROOT / "contracts/asyncapi/messaging.v1.json")


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json.loads(gzip.decompress(ASYNCAPI_SCHEMA.read_bytes()))
    return jsonschema.Draft7Validator(schema)


def test_asyncapi_is_valid(document: Document, validator: Any) -> None:
    validator.validate(document)
    assert document == asyncapi(EVENT_TYPES)


@pytest.mark.parametrize("part", ["channels", "operations", "info"])
def test_what_is_not_asyncapi_is_found(document: Document, validator: Any, part: str) -> None:
    broken = copy.deepcopy(document)
    broken[part] = {"x": "no such thing"}
    assert not validator.is_valid(broken)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "$ref" and isinstance(inner, str):
                yield inner
            # Schemas have roots of their own.
            elif name != "schema":
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_references_lead_somewhere(document: Document) -> None:
    found = set(references(document))
    assert found
    for reference in found:
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        assert target


def test_every_stream_is_a_channel_with_its_types(document: Document) -> None:
    assert document["channels"].keys() == set(ALL_STREAMS)
    for stream, channel in document["channels"].items():
        types = {name for name in EVENT_TYPES if stream_of(name) == stream}
        assert channel["messages"].keys() - {"other"} == types
    assert {one["action"] for one in document["operations"].values()} == {"send"}


def test_examples_of_messages_meet_their_schemas(document: Document) -> None:
    envelope = document["components"]["schemas"]["Envelope"]["schema"]
    for name, message in document["components"]["messages"].items():
        (example,) = message["examples"]
        jsonschema.validate(example["payload"], envelope)
        if name != "other":
            schema = message["payload"]["schema"]
            jsonschema.validate(example["payload"], schema)
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate({**example["payload"], "data": {}}, schema)
