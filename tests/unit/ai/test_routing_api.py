"""Routing policies over HTTP, without a database."""

import json

import pytest
from pydantic import ValidationError

from contracts.ai import routing
from functions.ai.domain.audit import Action
from functions.ai.domain.routing import Policy, Summarising, Target, UnknownTargetsError
from functions.ai.settings import StreamSettings
from servicekit.audit import AuditUnavailableError
from servicekit.settings import SettingsError
from tests.fakes.ai_app import ENVIRONMENT, AiService, chat_body

pytestmark = pytest.mark.anyio

NOVA = {"provider": "bedrock", "model": "amazon.nova-lite-v1:0"}
LLAMA = {"provider": "bedrock", "model": "llama3.2"}
GPT = {"provider": "openai", "model": "gpt-4.1"}
POLICY = {"default": [LLAMA | {"weight": 3}, NOVA | {"weight": 1}], "fallbacks": [GPT]}
PATH = "/api/v1/routing/project-7"


@pytest.fixture
def service():
    return AiService()


async def test_a_policy_is_set_read_and_removed(service):
    body = {"default": [LLAMA | {"weight": 3}, NOVA], "fallbacks": [GPT | {"weight": 9}]}
    answer = await service.call("PUT", PATH, body)
    assert answer.status_code == 200, answer.text
    stored = answer.json()
    assert routing.Routing.model_validate(stored).model_dump(mode="json") == stored
    assert {name: stored[name] for name in POLICY} == POLICY
    assert stored["scope"] == "project-7"
    assert (await service.call("GET", PATH)).json() == stored
    changed = (await service.call("PUT", PATH, {"default": [], "fallbacks": []})).json()
    assert (changed["default"], changed["fallbacks"]) == ([], [])
    assert changed["created_at"] == stored["created_at"] < changed["updated_at"]
    assert (await service.call("DELETE", PATH)).json() == {"message": "Routing policy deleted"}
    for method in ("GET", "DELETE"):
        gone = await service.call(method, PATH)
        assert (gone.status_code, gone.json()["code"]) == (404, "routing_not_found")


async def test_the_deployments_policy_is_shown_and_cannot_be_set():
    service = AiService(ROUTING=json.dumps(POLICY))
    path = "/api/v1/routing/default"
    shown = await service.call("GET", path)
    assert shown.json() == {
        "scope": "default",
        **POLICY,
        "summaries": None,
        "created_at": None,
        "updated_at": None,
    }
    for method, body in (("PUT", POLICY), ("DELETE", None)):
        refused = await service.call(method, path, body)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
        assert refused.json()["errors"][0]["field"] == "scope"
    assert service.memory.routing.kept == {}


@pytest.mark.parametrize(
    "scope",
    ["7", "project-0", "project-07", "project-2147483648", "project-7 ", "user-3", "project-٣"],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_scope_that_is_none_is_refused(service, method, scope):
    answer = await service.call(method, f"/api/v1/routing/{scope}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["field"] == "scope"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"default": []}, "fallbacks"),
        ({"fallbacks": []}, "default"),
        ({"default": [NOVA | {"weight": 0}], "fallbacks": []}, "default.0.weight"),
        ({"default": [NOVA | {"weight": 1001}], "fallbacks": []}, "default.0.weight"),
        ({"default": [NOVA | {"weight": True}], "fallbacks": []}, "default.0.weight"),
        ({"default": [], "fallbacks": [{"provider": "openai"}]}, "fallbacks.0.model"),
        ({"default": [], "fallbacks": [GPT] * 11}, "fallbacks"),
        ({"default": [], "fallbacks": [], "summaries": True}, "summaries"),
        ({"default": [], "fallbacks": [], "summaries": {"model": "m"}}, "summaries.model"),
    ],
)
async def test_a_policy_that_breaks_the_contract_is_refused(service, body, field):
    answer = await service.call("PUT", PATH, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["field"] == field
    with pytest.raises(ValidationError):
        routing.RoutingSet.model_validate(body)
    assert service.memory.outbox.events == []


async def test_targets_that_cannot_be_called_are_listed(service):
    body = {
        "default": [NOVA, {"provider": "openai", "model": "gpt-0"}, NOVA],
        "fallbacks": [{"provider": "nobody", "model": "x"}],
        "summaries": {"model": {"provider": "openai", "model": "gpt-0"}},
    }
    answer = await service.call("PUT", PATH, body)
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == "invalid_request"
    assert [error["field"] for error in problem["errors"]] == [
        "default.1",
        "default.2",
        "fallbacks.0",
        "summaries.model",
    ]
    assert "gpt-4.1" in problem["errors"][0]["message"]
    assert "openai" in problem["errors"][2]["message"]
    assert service.memory.routing.kept == {}


@pytest.mark.parametrize(
    ("given", "told", "recorded"),
    [
        (None, None, None),
        ({}, {"model": None}, "session"),
        ({"model": LLAMA}, {"model": LLAMA}, "bedrock:llama3.2"),
    ],
)
async def test_a_policy_may_want_summaries(service, given, told, recorded):
    answer = await service.call("PUT", PATH, POLICY | {"summaries": given})
    assert answer.status_code == 200, answer.text
    assert answer.json()["summaries"] == told
    assert (await service.call("GET", PATH)).json()["summaries"] == told
    assert service.memory.outbox.events[0]["metadata"].get("summaries") == recorded


def test_a_policy_of_earlier_days_wants_none():
    assert Policy.from_data({"default": [], "fallbacks": []}) == Policy()
    for summaries in (Summarising(), Summarising(Target("bedrock", "llama3.2"))):
        policy = Policy(summaries=summaries)
        assert Policy.from_data(json.loads(json.dumps(policy.data()))) == policy


async def test_everything_is_recorded_before_it_is_done(service):
    await service.call("PUT", PATH, POLICY)
    for method in ("GET", "DELETE", "GET"):
        await service.call(method, PATH)
    await service.call("GET", "/api/v1/routing/default")
    records = [
        (event["action"], event["metadata"]["outcome"], event["resource"])
        for event in service.memory.outbox.events
    ]
    own = "ai/routing/project-7"
    assert records == [
        (Action.SET_ROUTING, "allowed", own),
        (Action.READ_ROUTING, "allowed", own),
        (Action.DELETE_ROUTING, "allowed", own),
        (Action.READ_ROUTING, "denied", own),
        (Action.READ_ROUTING, "allowed", "ai/routing/default"),
    ]
    metadata = service.memory.outbox.events[0]["metadata"]
    assert metadata["fallbacks"] == ["openai:gpt-4.1"]
    assert metadata["project_id"] == 7


async def test_what_cannot_be_recorded_is_not_done(service):
    service.memory.outbox.failure = AuditUnavailableError()
    answer = await service.call("PUT", PATH, POLICY)
    assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
    assert service.memory.routing.kept == {}


async def test_an_unsigned_call_is_refused(service):
    answer = await service.call("GET", PATH, context=None)
    assert answer.status_code == 401


async def test_a_new_session_gets_what_the_projects_policy_says(service):
    await service.call("PUT", PATH, {"default": [LLAMA], "fallbacks": []})
    models = {}
    for fields in ({}, {"model": NOVA["model"]}, {"provider": "bedrock"}, {"project_id": 8}):
        answer = await service.call("POST", "/api/v1/chat", chat_body(**fields))
        assert answer.status_code == 200, answer.text
        session = service.memory.sessions.sessions[answer.json()["session_id"]]
        models[json.dumps(fields)] = session.model
    assert list(models.values()) == ["llama3.2", *[NOVA["model"]] * 3]


@pytest.mark.parametrize("value", ["", "nova", "{}", '{"default": [], "fallbacks": [{}]}'])
def test_a_setting_that_is_no_policy_stops_the_start(value):
    with pytest.raises(SettingsError, match="ROUTING"):
        StreamSettings.from_environment(ENVIRONMENT | {"ROUTING": value})


def test_a_setting_that_names_unknown_models_stops_the_start():
    policy = {"default": [], "fallbacks": [{"provider": "openai", "model": "gpt-0"}]}
    with pytest.raises(UnknownTargetsError, match=r"fallbacks\.0"):
        AiService(ROUTING=json.dumps(policy))


def test_the_setting_cannot_be_changed():
    settings = StreamSettings.from_environment(ENVIRONMENT)
    with pytest.raises(ValidationError, match="frozen"):
        settings.routing.default = []
