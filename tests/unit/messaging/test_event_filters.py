"""The language in which subscriptions say what they want."""

import pytest
from pydantic import ValidationError

from contracts.messaging import subscriptions as v1
from functions.messaging.domain.envelopes import envelope_of
from functions.messaging.domain.event_filters import filter_holds, type_matches
from functions.messaging.domain.events import Event
from tests.fakes.messaging_webhooks import START


def event(payload: str, tenant: str = "project:7"):
    return envelope_of(
        Event(
            event_id="e",
            event_type="card.moved",
            payload=payload,
            source="santaclaude.test",
            tenant=tenant,
            correlation_id="c",
            occurred_at=START,
            accepted_at=START,
            fingerprint="f",
        )
    )


@pytest.mark.parametrize(
    ("pattern", "event_type", "expected"),
    [
        ("*", "anything", True),
        ("card.moved", "card.moved", True),
        ("card.moved", "card.moved.twice", False),
        ("card.moved", "cardxmoved", False),
        ("card.*", "card.moved", True),
        ("card.*", "card.a.b", True),
        ("card.*", "card", False),
        ("card.*", "cards.moved", False),
        ("ai.job.*", "ai.job.queued", True),
        ("ai.job.*", "ai.jobs", False),
    ],
)
def test_types(pattern, event_type, expected):
    assert type_matches(pattern, event_type) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, True),
        ({"tenant": "project:7"}, True),
        ({"tenant": "project:70"}, False),
        ({"data.n": 1}, True),
        ({"data.n": 1.0}, True),
        ({"data.n": "1"}, False),
        ({"data.n": True}, False),
        ({"data.yes": True}, True),
        ({"data.yes": 1}, False),
        ({"data.none": None}, True),
        ({"data.absent": None}, False),
        ({"data.absent": "x"}, False),
        ({"data.deep.er.s": "x"}, True),
        ({"data.deep.er": "x"}, False),
        ({"data.list": "a"}, False),
        ({"data.list.0": "a"}, False),
        ({"data.n.x": 1}, False),
        ({"data.n": [2, 1]}, True),
        ({"data.n": [2, 3]}, False),
        ({"data.n": 1, "data.yes": True}, True),
        ({"data.n": 1, "data.yes": False}, False),
    ],
)
def test_fields(wanted, expected):
    payload = '{"n":1,"yes":true,"none":null,"deep":{"er":{"s":"x"}},"list":["a"]}'
    assert filter_holds(wanted, event(payload)) == expected


def create(**fields):
    return v1.SubscriptionCreate.model_validate(
        {"url": "https://a.example/", "types": ["*"]} | fields
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"types": []},
        {"types": ["a"] * 51},
        {"types": [""]},
        {"types": ["A"]},
        {"types": [".*x"]},
        {"types": ["a*"]},
        {"types": ["**"]},
        {"types": ["a\n"]},
        {"types": ["a" * 129]},
        {"filter": {}},
        {"filter": {f"data.f{n}": 1 for n in range(11)}},
        {"filter": {"data": 1}},
        {"filter": {"type": "x"}},
        {"filter": {"tenant.x": "x"}},
        {"filter": {"data..x": 1}},
        {"filter": {"data.a b": 1}},
        {"filter": {"data.a\n": 1}},
        {"filter": {"data" + ".a" * 9: 1}},
        {"filter": {"data.x": []}},
        {"filter": {"data.x": [1] * 21}},
        {"filter": {"data.x": {"gt": 1}}},
        {"filter": {"data.x": [[1]]}},
        {"filter": {"data.x": "x" * 257}},
        {"filter": {f"data.f{n}": ["x" * 250] * 3 for n in range(10)}},
        {"max_concurrency": 0},
        {"max_concurrency": 51},
        {"max_concurrency": True},
        {"secret": "whsec_"},
        {"secret": "whsec_" + "A" * 28},
        {"secret": "A" * 32},
        {"secret": "whsec_" + "A" * 88},
        {"secret": "whsec_" + "?" * 32},
        {"url": ""},
        {"url": "https://a.example/" + "a" * 2048},
        {"description": "x" * 501},
    ],
)
def test_what_is_not_the_language_is_refused(fields):
    with pytest.raises(ValidationError):
        create(**fields)


@pytest.mark.parametrize("size", [24, 32, 64])
def test_secrets_of_24_to_64_bytes_are_taken(size):
    import base64

    secret = "whsec_" + base64.b64encode(b"s" * size).decode()
    assert create(secret=secret).secret == secret


def test_a_secret_that_is_refused_is_not_quoted():
    with pytest.raises(ValidationError) as refused:
        create(secret="whsec_tooshort")
    assert "tooshort" not in str(refused.value.errors(include_input=False))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"version": 1},
        {"version": 0, "enabled": True},
        {"version": 1, "url": None},
        {"version": 1, "enabled": None},
        {"version": 1, "types": None},
        {"version": 1, "max_concurrency": None},
    ],
)
def test_a_change_changes_something(body):
    with pytest.raises(ValidationError):
        v1.SubscriptionChange.model_validate(body)
