"""What is written down of an attempt whose process is gone."""

import logging
from dataclasses import replace

import pytest

from functions.ai.bootstrap import _Parts
from functions.ai.domain.turns import Bill, Numbered, RestartEvent, TextEvent
from tests.fakes.ai_app import SETTINGS, AiService, Clock, chat_body

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ended():
    """The service's database, and the turn of a chat in it."""
    service = AiService()
    answer = await service.call("POST", "/api/v1/chat", chat_body(message="x" * 300))
    return service.memory, service.memory.turns.turns[answer.json()["turn_id"]]


def lost(memory):
    parts = _Parts.of(SETTINGS, memory.storage(), {"bedrock", "openai"}, Clock())
    return parts.turns._lost


def numbered(*events):
    return [Numbered(n, event) for n, event in enumerate(events, start=1)]


async def test_each_model_that_said_anything_is_charged(ended):
    memory, turn = ended
    events = numbered(
        TextEvent("a" * 40),
        RestartEvent("bedrock", "amazon.nova-pro-v1:0"),
        RestartEvent("openai", "gpt-4.1"),
        TextEvent("b" * 4),
        TextEvent("c" * 4),
    )
    bill = await lost(memory).bill(turn, events)
    assert bill.estimated
    assert [(c.call, c.provider, c.model, c.usage.output) for c in bill.charges] == [
        (1, "bedrock", "amazon.nova-lite-v1:0", 10),
        (2, "openai", "gpt-4.1", 2),
    ]
    assert all(c.at == turn.updated_at and 100 <= c.usage.input < 150 for c in bill.charges)


@pytest.mark.parametrize("events", [[], [RestartEvent("openai", "gpt-4.1")]])
async def test_where_nothing_was_said_nothing_is_charged(ended, events):
    memory, turn = ended
    assert await lost(memory).bill(turn, numbered(*events)) == Bill()


@pytest.mark.parametrize("fields", [{"model": "withdrawn"}, {"session_id": "gone"}])
async def test_what_cannot_be_estimated_does_not_keep_a_turn_from_its_end(ended, fields, caplog):
    caplog.set_level(logging.WARNING)
    memory, turn = ended
    said = numbered(TextEvent("a"))
    assert await lost(memory).bill(replace(turn, **fields), said) == Bill()
    (record,) = caplog.records
    assert record.getMessage() == "lost attempt not billed"
    assert record.turn_id == turn.turn_id
