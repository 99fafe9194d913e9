"""Whom a call asks, in which order, and what others learn of it."""

import asyncio
import itertools
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from functions.ai.domain import circuits as shared
from functions.ai.domain import policies as cached
from functions.ai.domain.breaker import (
    CLOSED,
    FAILURES,
    PAUSE_SECONDS,
    PROBE_SECONDS,
    Circuit,
)
from functions.ai.domain.catalogue import Catalogue
from functions.ai.domain.circuits import Circuits
from functions.ai.domain.errors import (
    ProviderAuthError,
    ProviderKeyMissingError,
    ProviderRejectedError,
    ProviderUnavailableError,
    TurnCancelledError,
)
from functions.ai.domain.inference import Image, Prompt, Text, Tool, ToolCall, ToolResult, Utterance
from functions.ai.domain.policies import Policies
from functions.ai.domain.router import Router
from functions.ai.domain.routing import (
    Needs,
    Policy,
    StoredPolicy,
    Target,
    UnknownTargetsError,
    check,
    drawn,
)
from servicekit.errors import StoreUnavailableError
from tests.fakes.memory_routing import MemoryRouting

pytestmark = pytest.mark.anyio

ADDED = ["openai:local", "anthropic:other"]
CATALOGUE = Catalogue("amazon.nova-lite-v1:0", ADDED)
ALL = frozenset(provider.name for provider in CATALOGUE.providers)
NOVA = CATALOGUE.default
GPT = CATALOGUE.find("openai", "gpt-4.1")
CLAUDE = CATALOGUE.find("anthropic", "claude-haiku-5-5")
LOCAL = CATALOGUE.find("openai", "local")
OTHER = CATALOGUE.find("anthropic", "other")
DOWN = ProviderUnavailableError()


def targets(*models):
    return tuple(Target.of(model) for model in models)


FALLBACKS = Policy(fallbacks=targets(GPT, CLAUDE))


class Deployment:
    """Processes that share a store, and a clock."""

    def __init__(self, policy=FALLBACKS, *, active=ALL, seed=1):
        self.store = MemoryRouting()
        self.now = datetime(2026, 11, 27, 12, tzinfo=UTC)
        self.policy = policy
        self.active = active
        self.random = random.Random(seed)

    def process(self):
        return Router(
            CATALOGUE,
            self.active,
            Policies(self.store, self.policy, self.clock),
            Circuits(self.store, self.clock),
            self.random.random,
        )

    def clock(self):
        return self.now

    def wait(self, seconds):
        self.now += timedelta(seconds=seconds)

    def set_policy(self, project_id, policy):
        self.store.kept[project_id] = StoredPolicy(project_id, policy, self.now, self.now)

    def circuit(self, model):
        return self.store.kept_circuits.get(Target.of(model).name, CLOSED)

    def phase(self, model):
        return self.circuit(model).phase(int(self.now.timestamp()))


async def listed(router, model=NOVA, project_id=7, **needs):
    return [m async for m in router.candidates(model, project_id, **needs)]


async def fail(router, model=NOVA, times=FAILURES, error=DOWN):
    for _ in range(times):
        await router.report(model, error)


async def test_fallbacks_come_in_their_order_and_each_once():
    twice = Policy(fallbacks=targets(CLAUDE, NOVA, GPT, CLAUDE))
    router = Deployment(twice).process()
    assert await listed(router) == [NOVA, CLAUDE, GPT]
    assert await listed(router, GPT) == [GPT, CLAUDE, NOVA]


async def test_equals_of_the_model_come_before_the_fallbacks_by_weight():
    equals = (replace(Target.of(NOVA), weight=1), *targets(GPT, CLAUDE))
    policy = Policy((equals[0], replace(equals[1], weight=3), equals[2]), targets(OTHER, GPT))
    deployment = Deployment(policy)
    router = deployment.process()
    second = Counter()
    for _ in range(2_000):
        order = await listed(router)
        assert (order[0], order[3:]) == (NOVA, [OTHER])
        second[order[1].name] += 1
    assert second[GPT.name] / 2_000 == pytest.approx(3 / 4, abs=0.03)
    # A model that is none of them has no equals.
    assert await listed(router, LOCAL) == [LOCAL, OTHER, GPT]


@pytest.mark.parametrize("seed", range(5))
def test_each_is_drawn_as_often_as_its_weight_says(seed):
    chance = random.Random(seed)
    pool = [Target("p", str(weight), weight) for weight in (1, 2, 5)]
    firsts = Counter(drawn(pool, chance.random)[0].weight for _ in range(4_000))
    for weight in (1, 2, 5):
        assert firsts[weight] / 4_000 == pytest.approx(weight / 8, abs=0.04)
    assert sorted(drawn(pool, chance.random), key=lambda t: t.weight) == pool
    assert drawn([], chance.random) == []


@pytest.mark.parametrize("seed", range(30))
async def test_no_order_has_a_model_twice_or_one_that_cannot_be_called(seed):
    chance = random.Random(seed)
    pool = [*targets(NOVA, GPT, CLAUDE, LOCAL, OTHER), Target("openai", "unknown")]
    pick = lambda: tuple(chance.sample(pool, chance.randint(0, len(pool))))  # noqa: E731
    active = frozenset({"bedrock", *chance.sample(sorted(ALL), 2)})
    router = Deployment(Policy(pick(), pick()), active=active, seed=seed).process()
    needs = Needs(tools=chance.random() < 0.5, images=chance.random() < 0.5)
    order = await listed(router, needs=needs)
    assert order[0] is NOVA
    assert len(set(map(id, order))) == len(order)
    for model in order[1:]:
        assert model.provider.name in active
        assert needs.met_by(model)


async def test_retired_and_unknown_models_are_left_out(monkeypatch):
    retired = replace(GPT, retired=True)
    models = tuple(retired if model is GPT else model for model in CATALOGUE.models)
    catalogue = Catalogue("amazon.nova-lite-v1:0", ADDED)
    monkeypatch.setattr(catalogue, "models", models)
    policy = Policy(fallbacks=(Target("openai", "gone"), *targets(GPT, CLAUDE)))
    deployment = Deployment(policy)
    router = Router(
        catalogue,
        ALL,
        Policies(deployment.store, policy, deployment.clock),
        Circuits(deployment.store, deployment.clock),
        deployment.random.random,
    )
    assert await listed(router) == [NOVA, CLAUDE]


async def test_a_provider_that_is_not_active_is_not_asked():
    router = Deployment(active={"bedrock", "anthropic"}).process()
    assert await listed(router) == [NOVA, CLAUDE]
    assert await listed(router, GPT) == [CLAUDE]
    with pytest.raises(ProviderKeyMissingError, match="openai is not active"):
        await listed(Deployment(Policy(), active={"bedrock"}).process(), GPT)


async def test_only_what_can_do_it_stands_in():
    policy = Policy(fallbacks=targets(LOCAL, GPT))
    router = Deployment(policy).process()
    assert await listed(router) == [NOVA, LOCAL, GPT]
    assert await listed(router, needs=Needs(tools=True)) == [NOVA, GPT]
    assert await listed(router, needs=Needs(images=True)) == [NOVA, GPT]
    # What was asked for is asked: of added models nobody knows what they can do.
    assert await listed(router, LOCAL, needs=Needs(tools=True)) == [LOCAL, GPT]


def test_what_a_prompt_needs():
    def prompt(*parts, tools=()):
        return Prompt("m", (), (Utterance("user", (Text("Hi"), *parts)),), tools)

    assert Needs.of(prompt()) == Needs()
    assert Needs.of(prompt(tools=(Tool("t", None, {}),))) == Needs(tools=True)
    assert Needs.of(prompt(ToolCall("1", "t", {}))) == Needs(tools=True)
    assert Needs.of(prompt(ToolResult("1", "done"))) == Needs(tools=True)
    assert Needs.of(prompt(Image("image/png", b"x"))) == Needs(images=True)


async def test_a_new_session_gets_one_of_the_equals_by_weight():
    policy = Policy((replace(Target.of(GPT), weight=9), *targets(CLAUDE)), ())
    deployment = Deployment(policy)
    router = deployment.process()
    names = Counter([(await router.default(7)).name for _ in range(2_000)])
    assert names[GPT.name] / 2_000 == pytest.approx(0.9, abs=0.03)
    deployment.set_policy(8, Policy(targets(OTHER)))
    assert await router.default(8) is OTHER
    assert await router.default(8, needs=Needs(tools=True)) is NOVA
    deployment.set_policy(9, Policy())
    assert await router.default(9) is NOVA


async def test_a_new_session_gets_none_whose_circuit_is_open_unless_all_are():
    deployment = Deployment(Policy(targets(GPT, CLAUDE)))
    router = deployment.process()
    await fail(router, GPT)
    assert {(await router.default(7)).name for _ in range(50)} == {CLAUDE.name}
    await fail(router, CLAUDE)
    drawn_now = {(await router.default(7)).name for _ in range(50)}
    assert drawn_now == {GPT.name, CLAUDE.name}
    deployment.wait(PAUSE_SECONDS)
    assert {(await router.default(7)).name for _ in range(50)} == drawn_now


async def test_failures_of_one_process_spare_the_others_the_target():
    deployment = Deployment()
    first, second = deployment.process(), deployment.process()
    assert await listed(second) == [NOVA, GPT, CLAUDE]
    await fail(first, times=FAILURES - 1)
    assert await listed(first) == [NOVA, GPT, CLAUDE]
    await fail(first, times=1)
    assert await listed(first) == [GPT, CLAUDE]
    assert await listed(second) == [NOVA, GPT, CLAUDE]
    deployment.wait(shared.CACHE_SECONDS)
    assert await listed(second) == [GPT, CLAUDE]


async def test_failures_of_many_processes_count_together():
    deployment = Deployment()
    processes = [deployment.process() for _ in range(50)]
    await asyncio.gather(*(process.report(NOVA, DOWN) for process in processes))
    assert deployment.phase(NOVA) == "open"
    assert deployment.circuit(NOVA).openings == 1


@pytest.mark.parametrize("error", [ProviderRejectedError(), TurnCancelledError()])
async def test_errors_that_do_not_tell_of_the_target_do_not_count(error):
    deployment = Deployment()
    await fail(deployment.process(), times=3 * FAILURES, error=error)
    assert deployment.circuit(NOVA) == CLOSED
    assert deployment.store.writes == 0


async def test_where_all_are_open_all_are_asked():
    deployment = Deployment()
    router = deployment.process()
    for model in (NOVA, GPT, CLAUDE):
        await fail(router, model)
    assert await listed(router) == [NOVA, GPT, CLAUDE]
    async for model in router.candidates(NOVA, 7):
        await router.report(model, DOWN if model is NOVA else None)
    # A call that nobody waited for proves as much as a probe, but does not prolong the pause.
    assert [deployment.phase(m) for m in (NOVA, GPT, CLAUDE)] == ["open", "closed", "closed"]
    assert deployment.circuit(NOVA).openings == 1


async def test_one_probe_is_let_through_and_decides():
    deployment = Deployment()
    processes = [deployment.process() for _ in range(8)]
    await fail(processes[0])
    deployment.wait(PAUSE_SECONDS)
    orders = [process.candidates(NOVA, 7) for process in processes]
    asked = await asyncio.gather(*(anext(order) for order in orders))
    assert sorted(model.name for model in asked) == sorted([NOVA.name] + [GPT.name] * 7)
    probing = processes[asked.index(NOVA)]
    await probing.report(NOVA, DOWN)
    assert deployment.circuit(NOVA).openings == 2
    deployment.wait(2 * PAUSE_SECONDS)
    assert await anext(probing.candidates(NOVA, 7)) is NOVA
    await probing.report(NOVA, None)
    assert deployment.circuit(NOVA).openings == 0
    deployment.wait(shared.CACHE_SECONDS)
    for process in processes:
        assert await anext(process.candidates(NOVA, 7)) is NOVA


async def test_openings_and_closings_are_told(caplog):
    caplog.set_level("INFO")
    deployment = Deployment()
    router = deployment.process()
    await fail(router, times=2 * FAILURES)
    deployment.wait(PAUSE_SECONDS)
    assert await anext(router.candidates(NOVA, 7)) is NOVA
    await router.report(NOVA, None)
    told = [(r.message, r.provider, r.model, r.openings) for r in caplog.records]
    name = Target.of(NOVA).name
    assert told == [("circuit opened", *name, 1), ("circuit closed", *name, 0)]


async def test_a_cancelled_probe_leaves_no_pass_behind():
    deployment = Deployment()
    router = deployment.process()
    await fail(router)
    deployment.wait(PAUSE_SECONDS)
    assert await anext(router.candidates(NOVA, 7)) is NOVA
    await router.report(NOVA, TurnCancelledError())
    await router.report(NOVA, None)
    assert deployment.circuit(NOVA).openings == 1


async def test_a_fallback_is_probed_only_when_it_is_asked():
    deployment = Deployment()
    router = deployment.process()
    await fail(router, GPT)
    deployment.wait(PAUSE_SECONDS)
    order = router.candidates(NOVA, 7)
    assert await anext(order) is NOVA
    assert deployment.phase(GPT) == "due"
    assert await anext(order) is GPT
    assert deployment.phase(GPT) == "open"


async def test_a_probe_whose_process_died_is_followed_by_another():
    deployment = Deployment()
    dead, alive = deployment.process(), deployment.process()
    await fail(dead)
    deployment.wait(PAUSE_SECONDS)
    assert await anext(dead.candidates(NOVA, 7)) is NOVA
    assert await anext(alive.candidates(NOVA, 7)) is GPT
    deployment.wait(PROBE_SECONDS)
    assert await anext(alive.candidates(NOVA, 7)) is NOVA


async def test_a_probe_that_is_refused_proves_that_the_target_is_there():
    deployment = Deployment()
    router = deployment.process()
    await fail(router)
    deployment.wait(PAUSE_SECONDS)
    assert await anext(router.candidates(NOVA, 7)) is NOVA
    await router.report(NOVA, ProviderRejectedError())
    assert deployment.phase(NOVA) == "closed"


async def test_a_success_that_began_before_it_opened_does_not_close_it():
    deployment = Deployment()
    router = deployment.process()
    assert await anext(router.candidates(NOVA, 7)) is NOVA
    await fail(router)
    await router.report(NOVA, None)
    assert deployment.phase(NOVA) == "open"


async def test_the_good_case_costs_a_read_at_times():
    deployment = Deployment()
    router = deployment.process()
    for _ in range(100):
        for model in await listed(router):
            await router.report(model, None)
    assert (deployment.store.reads, deployment.store.writes) == (1, 0)
    deployment.wait(shared.CACHE_SECONDS)
    await listed(router)
    assert deployment.store.reads == 2


async def test_without_fallbacks_nothing_is_read_and_nothing_stands_in_the_way():
    deployment = Deployment(Policy())
    router = deployment.process()
    await fail(router, error=ProviderAuthError())
    reads = deployment.store.reads
    assert await listed(router) == [NOVA]
    assert deployment.store.reads == reads


async def test_a_store_that_fails_stops_no_call(caplog):
    deployment = Deployment()
    router = deployment.process()
    await fail(router)
    deployment.wait(PAUSE_SECONDS)
    assert deployment.phase(NOVA) == "due"
    deployment.store.failure = StoreUnavailableError()
    assert await listed(router) == [NOVA, GPT, CLAUDE]
    await router.report(NOVA, DOWN)
    await router.report(GPT, None)
    assert {record.message for record in caplog.records} >= {
        "circuits not available",
        "routing policy not read",
    }
    deployment.store.failure = None
    deployment.wait(shared.CACHE_SECONDS)
    assert await anext(router.candidates(NOVA, 7)) is NOVA
    assert deployment.phase(NOVA) == "open"


async def test_a_probe_that_cannot_be_claimed_is_asked_all_the_same():
    deployment = Deployment()
    router = deployment.process()
    await fail(router)
    deployment.wait(PAUSE_SECONDS)
    assert await router.default(7) is NOVA
    order = router.candidates(NOVA, 7)
    await deployment.process().default(7)
    # It knows the circuit; only then the store fails.
    deployment.wait(-1)
    assert await listed(router) == [GPT, CLAUDE]
    deployment.wait(1)
    deployment.store.failure = StoreUnavailableError()
    assert await anext(order) is NOVA


async def test_a_store_that_hangs_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(shared, "STORE_PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(cached, "STORE_PATIENCE_SECONDS", 0.01)
    deployment = Deployment()

    async def hang(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(deployment.store, "policy", hang)
    monkeypatch.setattr(deployment.store, "circuits", hang)
    router = deployment.process()
    assert await listed(router) == [NOVA, GPT, CLAUDE]
    await router.report(NOVA, DOWN)


async def test_a_swap_that_is_lost_again_and_again_is_given_up(monkeypatch):
    deployment = Deployment()

    async def lose(*_):
        deployment.store.writes += 1
        return False

    monkeypatch.setattr(deployment.store, "swap", lose)
    router = deployment.process()
    await router.report(NOVA, DOWN)
    assert 1 < deployment.store.writes < 10
    assert await listed(router) == [NOVA, GPT, CLAUDE]


async def test_a_projects_policy_replaces_the_deployments_within_seconds():
    deployment = Deployment()
    router = deployment.process()
    assert await listed(router) == [NOVA, GPT, CLAUDE]
    deployment.set_policy(7, Policy(fallbacks=targets(OTHER)))
    assert await listed(router, project_id=8) == [NOVA, GPT, CLAUDE]
    assert await listed(router) == [NOVA, GPT, CLAUDE]
    deployment.wait(cached.CACHE_SECONDS)
    assert await listed(router) == [NOVA, OTHER]
    deployment.store.failure = StoreUnavailableError()
    deployment.wait(cached.CACHE_SECONDS)
    assert await listed(router) == [NOVA, OTHER]
    deployment.store.failure = None
    del deployment.store.kept[7]
    deployment.wait(cached.CACHE_SECONDS)
    assert await listed(router) == [NOVA, GPT, CLAUDE]


async def test_policies_of_the_projects_asked_last_are_kept(monkeypatch):
    monkeypatch.setattr(cached, "_CACHED", 2)
    deployment = Deployment()
    policies = Policies(deployment.store, Policy(), deployment.clock)
    for project_id in (1, 2, 3):
        await policies.of(project_id)
    for project_id in (1, 2, 3):
        deployment.set_policy(project_id, FALLBACKS)
    assert [await policies.of(project_id) for project_id in (3, 1)] == [Policy(), FALLBACKS]


def test_a_policy_is_checked_against_the_catalogue():
    check(Policy(targets(NOVA, GPT), targets(NOVA, LOCAL)), CATALOGUE)
    policy = Policy(
        (*targets(GPT, GPT), Target("azure", "gpt-4.1")), (Target("anthropic", "gpt-4.1"),)
    )
    with pytest.raises(UnknownTargetsError) as unknown:
        check(policy, CATALOGUE)
    assert [field for field, _ in unknown.value.problems] == [
        "default.1",
        "default.2",
        "fallbacks.0",
    ]
    assert "azure" not in str(unknown.value)


def test_a_policy_is_written_and_read_back():
    policy = Policy((Target("openai", "gpt-4.1", 3), *targets(NOVA)), targets(CLAUDE))
    assert Policy.from_data(policy.data()) == policy
    assert [sorted(target) for target in policy.data()["fallbacks"]] == [["model", "provider"]]


def test_every_way_to_be_a_circuit_has_a_phase():
    phases = {
        Circuit(openings=o, retry_at=r).phase(5) for o, r in itertools.product((0, 1), (4, 6))
    }
    assert phases == {"closed", "open", "due"}
