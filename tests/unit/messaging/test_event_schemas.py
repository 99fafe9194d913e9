"""Schemas of events, compiled."""

import copy

import jsonschema
import pytest

from contracts.messaging.registry import EVENT_TYPES
from functions.messaging.adapters.schemas import EventSchemas, compile_schema
from servicekit.errors import InvalidRequestError

TYPES = pytest.mark.parametrize("event_type", EVENT_TYPES.values(), ids=lambda one: one.name)


def errors_of(event_type, payload):
    with pytest.raises(InvalidRequestError) as refused:
        EventSchemas().check(event_type, payload)
    return {error["field"]: error["message"] for error in refused.value.errors}


@TYPES
def test_examples_pass_and_stay_as_they_are(event_type):
    required = {name: event_type.example[name] for name in event_type.schema()["required"]}
    for payload in (event_type.example, required):
        before = copy.deepcopy(payload)
        EventSchemas().check(event_type.name, payload)
        assert payload == before


@TYPES
def test_a_field_that_must_be_there(event_type):
    for name in event_type.schema()["required"]:
        payload = {key: value for key, value in event_type.example.items() if key != name}
        assert errors_of(event_type.name, payload) == {f"payload.{name}": "Field required"}


@TYPES
def test_verdicts_are_those_of_another_validator(event_type):
    """Jsonschema knows the dialect; fastjsonschema knows an older one."""
    schema = event_type.schema()
    other = jsonschema.Draft202012Validator(schema)
    for name in schema["properties"]:
        for value in (None, True, 0, -1, 1, 2**31, 1.5, "", "text", "2026-01-05", [], {}, [1]):
            payload = {**event_type.example, name: value}
            try:
                EventSchemas().check(event_type.name, payload)
            except InvalidRequestError:
                accepted = False
            else:
                accepted = True
            # jsonschema takes every text for a time.
            timed = "date-time" in str(schema["properties"][name]) and isinstance(value, str)
            assert accepted == (other.is_valid(payload) and not timed), (name, value)


def test_times_tell_their_zone():
    payload = {**EVENT_TYPES["user.deleted"].example, "deleted_at": "2026-01-05T09:30:00"}
    assert errors_of("user.deleted", payload).keys() == {"payload.deleted_at"}


def test_messages_quote_no_value():
    payload = {**EVENT_TYPES["audit.event"].example, "event_id": "secret secret", "severity": "my"}
    errors = errors_of("audit.event", payload)
    assert errors.keys() == {"payload.event_id", "payload.severity"}
    assert "secret" not in str(errors)
    assert "'my'" not in str(errors)


def test_a_dollar_within_a_pattern_is_a_dollar():
    validate = compile_schema({"type": "string", "pattern": '^[!"$-.]{2}$'})
    assert validate("$-") == "$-"
    with pytest.raises(ValueError, match="pattern"):
        validate("$-\n")


def test_what_has_no_schema_passes():
    EventSchemas().check("other.thing", {"anything": [None]})
    assert EventSchemas().path_of("other.thing") is None


def test_paths_lead_into_lists():
    payload = {**EVENT_TYPES["user.updated"].example, "changed": ["email", 3]}
    assert errors_of("user.updated", payload).keys() == {"payload.changed.1"}
