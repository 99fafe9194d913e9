"""Which model answers when another fails, and what is told of it."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from functions.ai.domain.errors import (
    ProviderAuthError,
    ProviderRejectedError,
    ProviderThrottledError,
    ProviderUnavailableError,
)
from functions.ai.domain.inference import Completion, Opaque, ToolCall, Usage
from tests.fakes.ai_app import AiService, chat_body, chunks
from tests.fakes.memory import ScriptedProvider

pytestmark = pytest.mark.anyio

CHAT = "/api/v1/chat"
STREAM = "/api/v1/chat/stream"
DONE = Completion(Usage(10, 40))
ROUTING = json.dumps(
    {
        "default": [],
        "fallbacks": [{"provider": "anthropic", "model": "claude-haiku-4-5"}],
    }
)


class Two(AiService):
    """Bedrock, and a model of Anthropic's that stands in for it."""

    def __init__(self, first: Any, second: Any, **environment: str) -> None:
        self.first = ScriptedProvider(first)
        self.second = ScriptedProvider(second)
        providers = {"bedrock": self.first, "anthropic": self.second}
        super().__init__(providers=providers, **{"ROUTING": ROUTING, **environment})


async def turn_of(service: AiService, answer: Any) -> dict[str, Any]:
    turn_id = answer.headers.get("x-turn-id") or answer.json()["turn_id"]
    turn: dict[str, Any] = (await service.call("GET", f"/api/v1/turns/{turn_id}")).json()
    return turn


@pytest.mark.parametrize(
    "error", [ProviderUnavailableError(), ProviderThrottledError(retry_after=7), RuntimeError()]
)
@pytest.mark.parametrize("path", [CHAT, STREAM])
async def test_before_the_first_content_another_model_answers_in_silence(path, error):
    service = Two([error], [["From another"], DONE])
    answer = await service.call("POST", path, chat_body())
    assert answer.status_code == 200
    assert "From another" in answer.text
    turn = await turn_of(service, answer)
    assert (turn["provider"], turn["model"]) == ("anthropic", "claude-haiku-4-5")
    assert turn["cost"] is not None
    followed = await service.call("GET", f"/api/v1/turns/{turn['turn_id']}/events")
    assert "restart" not in followed.text


async def test_what_passes_is_tried_again_at_the_same_model():
    service = Two([ProviderUnavailableError()], [["Not me"], DONE])

    async def recover() -> None:
        await service.first.asked.wait()
        service.first.script = [["Back"], DONE]

    recovering = asyncio.create_task(recover())
    answer = await service.call("POST", CHAT, chat_body())
    await recovering
    assert answer.json()["message"]["content"] == "Back"
    assert service.second.prompts == []


async def test_what_speaks_of_the_request_is_no_reason_to_ask_another():
    service = Two([ProviderRejectedError()], [["Not me"], DONE])
    answer = await service.call("POST", CHAT, chat_body())
    assert (answer.status_code, answer.json()["code"]) == (502, "provider_rejected")
    assert service.second.prompts == []


async def test_when_all_fail_the_last_failure_is_told():
    service = Two([ProviderUnavailableError()], [ProviderAuthError()])
    answer = await service.call("POST", CHAT, chat_body())
    assert (answer.status_code, answer.json()["code"]) == (502, "provider_access_denied")


async def test_after_the_first_content_a_v1_stream_ends_in_error_and_keeps_its_text():
    service = Two([["Half"], ProviderUnavailableError()], [["Whole"], DONE])
    answer = await service.call("POST", STREAM, chat_body())
    got = chunks(answer)
    assert [c["chunk"] for c in got] == ["Half", ""]
    assert got[-1]["error"]["code"] == "provider_unavailable"
    assert service.second.prompts == []
    stored = await service.messages(got[0]["session_id"])
    assert [m["content"] for m in stored] == ["Hi", "Half"]


async def test_after_the_first_content_a_richer_stream_is_told_that_the_answer_begins_anew():
    service = Two([["Half"], ProviderUnavailableError()], [["Whole"], DONE])
    answer = await service.call("POST", f"{STREAM}?protocol=events", chat_body())
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:5] == "data:"]
    assert [e["type"] for e in events] == ["start", "text", "restart", "text", "end"]
    assert (events[2]["provider"], events[2]["model"]) == ("anthropic", "claude-haiku-4-5")
    turn = events[-1]["turn"]
    assert (turn["status"], turn["provider"]) == ("completed", "anthropic")
    stored = await service.messages(turn["session_id"])
    assert [m["content"] for m in stored] == ["Hi", "Whole"]
    # Both are billed: what the first one cost is estimated, for it did not come to tell.
    assert turn["usage_estimated"]
    charges = list(service.memory.money.charges.values())
    # Of the first one nothing was delivered, of the second one all.
    assert [(c.provider, c.call, c.estimated, c.delivered) for c in charges] == [
        ("bedrock", 1, True, 0),
        ("anthropic", 2, False, None),
    ]
    assert Decimal(turn["cost"]) == sum(c.dollars for c in charges)
    # Whoever comes later hears the answer that counts, as v1 too.
    late = chunks(await service.call("GET", f"/api/v1/turns/{turn['turn_id']}/events?protocol=v1"))
    assert [c["chunk"] for c in late] == ["Whole", ""]
    assert "error" not in late[-1]


async def test_a_whole_answer_begins_anew_without_anybody_noticing():
    service = Two([["Half"], ProviderUnavailableError()], [["Whole"], DONE])
    answer = await service.call("POST", CHAT, chat_body())
    assert answer.json()["message"]["content"] == "Whole"


async def test_all_models_together_have_so_long_for_the_first_content(monkeypatch):
    monkeypatch.setattr("functions.ai.domain.asking.FIRST_CONTENT_SECONDS", 0.05)
    service = Two([None, ["Late"], DONE], [["Whole"], DONE])
    answer = await service.call("POST", CHAT, chat_body())
    assert (answer.status_code, answer.json()["code"]) == (504, "provider_timeout")
    assert service.first.broken_off == 1


TOOL = {
    "type": "function",
    "function": {
        "name": "find_cards",
        "description": "Finds cards",
        "parameters": {"type": "object", "properties": {"label": {"type": "string"}}},
    },
}


async def test_tools_are_called_and_their_results_come_back():
    call = ToolCall("call-1", "find_cards", {"label": "bug"})
    thinking = Opaque("bedrock", {"signature": "s"})
    service = AiService()
    service.provider.script = [
        ["Let me look."],
        Completion(Usage(5, 5), "tool_calls", (call,), (thinking,)),
    ]
    asked = await service.call("POST", CHAT, chat_body(tools=[TOOL], max_output_tokens=500))
    message = asked.json()["message"]
    assert message["tool_calls"] == [
        {
            "id": "call-1",
            "type": "function",
            "function": {"name": "find_cards", "arguments": '{"label":"bug"}'},
        }
    ]
    (prompt,) = service.provider.prompts
    assert prompt.tools[0].name == "find_cards"
    assert prompt.tools[0].parameters == TOOL["function"]["parameters"]
    assert prompt.max_output_tokens == 500
    assert (await turn_of(service, asked))["stop"] == "tool_calls"
    service.provider.script = [["There are two."], DONE]
    result = {"tool_call_id": "call-1", "content": "2 cards"}
    body = chat_body(
        message="", session_id=asked.json()["session_id"], tools=[TOOL], tool_results=[result]
    )
    answered = await service.call("POST", CHAT, body)
    assert answered.json()["message"]["content"] == "There are two."
    parts = [part for said in service.provider.prompts[-1].utterances for part in said.parts]
    assert thinking in parts
    assert call in parts
    assert parts[-1].content == "2 cards"
    stored = await service.messages(asked.json()["session_id"])
    assert stored[2]["tool_results"] == [result]


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function", "function": {"name": "with space"}}]},
        {"tools": [TOOL, TOOL]},
        {"tools": [TOOL | {"type": "retrieval"}]},
        {"tool_results": [{"tool_call_id": "", "content": "x"}]},
        {"tool_results": [{"content": "x"}]},
        {"max_output_tokens": 0},
    ],
)
async def test_tools_that_are_none_are_refused(fields):
    answer = await AiService().call("POST", CHAT, chat_body(**fields))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_more_tool_data_than_a_message_holds_is_too_large():
    results = [{"tool_call_id": str(n), "content": "x" * 30_000} for n in range(4)]
    answer = await AiService().call("POST", CHAT, chat_body(tool_results=results))
    assert (answer.status_code, answer.json()["code"]) == (413, "content_too_large")


async def test_a_budget_that_is_exhausted_refuses_before_the_model_is_asked():
    service = AiService()
    made = await service.call("PUT", "/api/v1/budgets/project-7", {"daily_limit": "0.000001"})
    assert made.status_code == 200, made.text
    answer = await service.call("POST", CHAT, chat_body())
    assert (answer.status_code, answer.json()["code"]) == (402, "budget_exhausted")
    assert service.provider.prompts == []
    assert service.memory.money.charges == {}


async def test_what_a_turn_costs_is_in_the_usage_and_in_the_budget():
    service = AiService()
    await service.call("PUT", "/api/v1/budgets/project-7", {"daily_limit": "10"})
    answer = await service.call("POST", CHAT, chat_body())
    assert answer.status_code == 200, answer.text
    cost = answer.json()["message"]["cost"]
    day = service.clock.now.date().isoformat()
    usage = await service.call("GET", f"/api/v1/usage?project_id=7&from={day}&to={day}")
    assert usage.status_code == 200, usage.text
    assert usage.json()["total"]["cost"] == cost
    budget = (await service.call("GET", "/api/v1/budgets/project-7")).json()
    assert cost in json.dumps(budget)
    assert service.memory.money.holds == []


@pytest.mark.parametrize("script", [[ProviderAuthError()], [["Half"], ProviderRejectedError()]])
async def test_a_failed_turn_holds_nothing(script):
    service = AiService(provider=ScriptedProvider(script))
    await service.call("PUT", "/api/v1/budgets/user-3", {"monthly_limit": "10"})
    await service.call("POST", CHAT, chat_body())
    assert service.memory.money.holds == []
    assert len(service.memory.money.charges) == (script[0] == ["Half"])
