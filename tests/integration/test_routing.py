"""Routing policies and circuits: what the fake and DynamoDB keep alike, whoever comes at once."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions.ai.adapters import keys
from functions.ai.adapters.dynamodb_breaker import DynamoCircuits
from functions.ai.adapters.dynamodb_routing import DynamoPolicies
from functions.ai.domain import circuits as shared
from functions.ai.domain.breaker import CLOSED, FAILURES, KEPT_SECONDS, PAUSE_SECONDS
from functions.ai.domain.catalogue import Catalogue
from functions.ai.domain.circuits import CACHE_SECONDS, Circuits
from functions.ai.domain.errors import ProviderTimeoutError
from functions.ai.domain.policies import Policies
from functions.ai.domain.router import Router
from functions.ai.domain.routing import Policy, StoredPolicy, Target
from servicekit.dynamodb import DynamoTable
from tests.fakes.memory_routing import MemoryRouting

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
NOW = int(NOON.timestamp())
NAME = ("bedrock", "amazon.nova-lite-v1:0")
OTHER = ("openai", "gpt-4.1")
POLICY = Policy((Target(*NAME, 3), Target(*OTHER)), (Target("anthropic", "claude-haiku-5-5"),))


@pytest.fixture(params=["memory", "dynamodb"])
def policies(request):
    if request.param == "memory":
        return MemoryRouting()
    return DynamoPolicies(request.getfixturevalue("table"))


@pytest.fixture(params=["memory", "dynamodb"])
def circuits(request):
    if request.param == "memory":
        return MemoryRouting()
    return DynamoCircuits(request.getfixturevalue("table"))


async def test_a_policy_is_kept_until_it_is_removed(policies):
    assert await policies.policy(7) is None
    stored = StoredPolicy(7, POLICY, NOON, NOON)
    assert await policies.save_policy(stored) == stored
    assert await policies.policy(7) == stored
    assert await policies.policy(70) is None
    later = NOON + timedelta(seconds=5)
    changed = await policies.save_policy(StoredPolicy(7, Policy(), later, later))
    assert changed == await policies.policy(7) == StoredPolicy(7, Policy(), NOON, later)
    assert await policies.remove_policy(7)
    assert not await policies.remove_policy(7)
    assert await policies.policy(7) is None


async def test_a_circuit_is_changed_by_whoever_saw_it_last(circuits):
    assert await circuits.circuits([NAME, OTHER]) == {}
    first = CLOSED.failed(NOW, probe=False)
    assert await circuits.swap(NAME, CLOSED, first)
    assert not await circuits.swap(NAME, CLOSED, first)
    second = first.failed(NOW + 1, probe=False)
    assert await circuits.swap(NAME, first, second)
    assert not await circuits.swap(NAME, first, second)
    assert await circuits.circuits([OTHER, NAME]) == {NAME: second}
    assert not await circuits.swap(OTHER, first, second)


async def test_of_those_who_come_at_once_one_wins(circuits):
    seen = CLOSED.failed(NOW, probe=False)
    assert await circuits.swap(NAME, CLOSED, seen)
    changed = seen.probed(NOW)
    won = await asyncio.gather(*(circuits.swap(NAME, seen, changed) for _ in range(20)))
    assert won.count(True) == 1


def process(circuits: Any, clock: Callable[[], datetime]) -> Router:
    """One of several that share what they know."""
    return Router(
        Catalogue("amazon.nova-lite-v1:0", []),
        {"bedrock", "openai", "anthropic"},
        Policies(MemoryRouting(), Policy(fallbacks=(Target(*OTHER),)), clock),
        Circuits(circuits, clock),
        lambda: 0.5,
    )


async def test_an_outage_is_learned_once_and_probed_once(circuits, monkeypatch):
    # The mocked database takes one call after the other.
    monkeypatch.setattr(shared, "STORE_PATIENCE_SECONDS", 60)
    now = NOON

    def clock() -> datetime:
        return now

    processes = [process(circuits, clock) for _ in range(10)]
    model = Catalogue("amazon.nova-lite-v1:0", []).default
    await asyncio.gather(*(p.report(model, ProviderTimeoutError()) for p in processes))
    now += timedelta(seconds=CACHE_SECONDS)
    first = [await anext(p.candidates(model, 7)) for p in processes]
    assert {m.name for m in first} == {OTHER[1]}
    now += timedelta(seconds=PAUSE_SECONDS)
    asked = await asyncio.gather(*(anext(p.candidates(model, 7)) for p in processes))
    probing = [p for p, m in zip(processes, asked, strict=True) if m.name == NAME[1]]
    assert len(probing) == 1
    await probing[0].report(model, None)
    now += timedelta(seconds=CACHE_SECONDS)
    first = [await anext(p.candidates(model, 7)) for p in processes]
    assert {m.name for m in first} == {NAME[1]}


async def test_a_write_whose_answer_was_lost_is_known_again(table, monkeypatch):
    circuits = DynamoCircuits(table)
    put = table.put

    async def put_twice(write: Any) -> None:
        await put(write)
        await put(write)

    monkeypatch.setattr(table, "put", put_twice)
    assert await circuits.swap(NAME, CLOSED, CLOSED.failed(NOW, probe=False))


async def test_a_circuit_leaves_by_itself(table: DynamoTable):
    circuits = DynamoCircuits(table)
    circuit = CLOSED
    for _ in range(FAILURES):
        changed = circuit.failed(NOW, probe=False)
        assert await circuits.swap(NAME, circuit, changed)
        circuit = changed
    item = await table.get(keys.circuit_key(*NAME))
    assert item is not None
    assert item["expires_at"] == circuit.forgotten_at >= NOW + PAUSE_SECONDS + KEPT_SECONDS
