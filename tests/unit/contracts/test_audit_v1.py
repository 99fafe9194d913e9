"""The limits and lenience of the audit v1 bodies."""

import subprocess
import sys
from collections.abc import Mapping

import pytest
from pydantic import BaseModel, ValidationError

from contracts.audit import examples, v1

EVENT = {"event_type": "t", "resource": "r", "action": "a", "metadata": {}}


def error_types(model: type[BaseModel], body: Mapping[str, object]) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(body)
    return [(".".join(map(str, e["loc"])), e["type"]) for e in caught.value.errors()]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"event_type": ""}, ("event_type", "string_too_short")),
        ({"event_type": "t" * 129}, ("event_type", "string_too_long")),
        ({"resource": "r" * 401}, ("resource", "string_too_long")),
        ({"action": "a" * 129}, ("action", "string_too_long")),
        ({"request_id": ""}, ("request_id", "string_too_short")),
        ({"session_id": "s" * 129}, ("session_id", "string_too_long")),
        ({"user_id": 0}, ("user_id", "greater_than_equal")),
        ({"user_id": True}, ("user_id", "int_type")),
        ({"metadata": []}, ("metadata", "dict_type")),
        ({"metadata": None}, ("metadata", "dict_type")),
        ({"event_id": "a#b"}, ("event_id", "string_pattern_mismatch")),
        ({"event_id": "a/b"}, ("event_id", "string_pattern_mismatch")),
        ({"event_id": "a b"}, ("event_id", "string_pattern_mismatch")),
        ({"event_id": "ä"}, ("event_id", "string_pattern_mismatch")),
        ({"event_id": "a\n"}, ("event_id", "string_pattern_mismatch")),
        ({"event_id": "e" * 129}, ("event_id", "string_pattern_mismatch")),
        ({"producer": "-a"}, ("producer", "string_pattern_mismatch")),
        ({"producer": "p", "sequence": 0}, ("sequence", "greater_than_equal")),
        ({"producer": "p", "sequence": 2**53}, ("sequence", "less_than_equal")),
        ({"sequence": 1}, ("", "sequence_without_producer")),
        ({"severity": "urgent"}, ("severity", "literal_error")),
        ({"data_classification": "secret"}, ("data_classification", "literal_error")),
        ({"occurred_at": "yesterday"}, ("occurred_at", "datetime_from_date_parsing")),
    ],
)
def test_refuses(fields: dict[str, object], expected: tuple[str, str]) -> None:
    assert error_types(v1.AuditEventCreate, EVENT | fields) == [expected]


@pytest.mark.parametrize("event_id", ["0", "~" * 128, '!"$%&.0:;=?@[]^_`{|}', "01KASM0T3Z"])
def test_event_ids(event_id: str) -> None:
    assert v1.AuditEventCreate.model_validate(EVENT | {"event_id": event_id}).event_id == event_id


def test_what_an_endpoint_sets_is_not_asked_for() -> None:
    body = {"resource": "r", "action": "a"}
    assert v1.SystemEventCreate.model_validate(body).metadata == {}
    assert v1.SecurityEventCreate.model_validate(body).severity == "medium"
    assert v1.DataEventCreate.model_validate(body).data_classification == "internal"
    assert error_types(v1.UserEventCreate, body) == [("user_id", "missing")]


def test_batches_are_bounded() -> None:
    assert error_types(v1.Batch, {"events": []}) == [("events", "too_short")]
    assert error_types(v1.Batch, {"events": [EVENT] * 101}) == [("events", "too_long")]


def test_personal_fields_are_marked_in_the_schema() -> None:
    schema = v1.AuditEventCreate.model_json_schema()["properties"]["metadata"]
    marked = {name for name, known in schema["properties"].items() if known["x-personal"]}
    assert marked == set(v1.PERSONAL_FIELDS)
    assert schema["additionalProperties"] is True


def test_what_is_not_there_is_not_told() -> None:
    event = v1.AuditEvent.model_validate(examples.SYSTEM_EVENT)
    assert event.model_dump(mode="json") == examples.SYSTEM_EVENT
    assert "masked" not in event.model_dump()


def test_a_filter_has_one_way_to_name_resources() -> None:
    body = {"resource": "a", "resource_prefix": "b"}
    assert error_types(v1.EventFilter, body) == [("", "resource_and_prefix")]


def test_the_models_cost_no_more_than_pydantic() -> None:
    code = "import sys, contracts.audit.v1; print(*{m.partition('.')[0] for m in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(run.stdout.split())
    assert "pydantic" in loaded
    assert not {"httpx", "starlette", "fastapi", "botocore", "servicekit"} & loaded
