"""The AI service as a gateway, beside the LiteLLM proxy over the same upstream in the same run.

What a gateway adds is the time through it less the time without it, taken by the same client in
turn: percentiles of each, and the difference. Rates are requests in a second of the gateway's own
CPU, which others on the machine change little. Several rounds: the median counts.
"""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.emulator import client, create_table, ministack
from bench.figure import Figure
from bench.gateway_client import Call, Taken, at_once, in_turn
from bench.gateway_servers import (
    ANTHROPIC_MODEL,
    LITELLM_KEY,
    OPENAI_MODEL,
    TABLE,
    Server,
    litellm,
    relay,
    service,
    upstream,
)

_ROUNDS = 3
_LATENCY_CALLS = 100
# The emulator's work is most of theirs.
_STORED_CALLS = 30
_RATE_CALLS = 80
_CONNECTIONS = 8
_WARMING_CALLS = 20

_SHORT = 20
_ANSWER = f"[[chunks={_SHORT} input=100 output=40]]"
# A chunk 5 ms after the other: each comes alone, as from a model.
_STREAMS = 4
_CHUNKS = 200
_REPEATED = 3
_LONG = f"[[chunks={_CHUNKS} delay=0.005 input=100 output=40]]"
_FAST = f"[[chunks={_CHUNKS} input=100 output=40]]"
_MARK = "Chunk 1"
_ALONE = ", each alone"
_RUSH = ", in a rush"

_MILLISECONDS = 1e3
_MICROSECONDS = 1e6
_INDEXES = 2
_CONTEXT = {
    "requestId": "bench",
    "apiId": "bench",
    "accountId": "000000000000",
    "identity": {
        "userArn": "arn:aws:sts::000000000000:assumed-role/bench/bench",
        "accountId": "000000000000",
    },
}


def measure() -> Iterator[Figure]:
    """Rate, latency, time to the first text, CPU per chunk: without the store, then with it."""
    with upstream() as providers:
        with service(providers.url) as ours, litellm(providers.url) as peer:
            for provider in _PROVIDERS:
                yield from _beside(provider, providers, ours, peer)
        with ministack() as endpoint:
            create_table(client("dynamodb", endpoint), TABLE, _INDEXES)
            with service(providers.url, endpoint) as ours:
                for provider in _PROVIDERS:
                    yield from _with_store(provider, providers, ours)


@dataclass(frozen=True, slots=True)
class _Provider:
    """A provider and how it is called without a gateway."""

    name: str
    model: str
    path: str
    headers: Mapping[str, str]
    demands: Mapping[str, object]

    def directly(self, server: Server, message: str, *, stream: bool) -> Call:
        body = {**self._body(message, stream=stream), **self.demands}
        return Call.post(server.url + self.path, body, self.headers, _MARK)

    def through_peer(self, server: Server, message: str, *, stream: bool) -> Call:
        headers = {"Authorization": f"Bearer {LITELLM_KEY}"}
        url = f"{server.url}/v1/chat/completions"
        return Call.post(url, self._body(message, stream=stream), headers, _MARK)

    def through_service(self, server: Server, message: str, *, stream: bool) -> Call:
        body = {
            "message": message,
            "project_id": 7,
            "user_id": 3,
            "provider": self.name,
            "model": self.model,
            "stream": stream,
        }
        url = f"{server.url}/api/v1/chat{'/stream' if stream else ''}"
        headers = {"x-amzn-request-context": json.dumps(_CONTEXT)}
        return Call.post(url, body, headers, _MARK)

    def _body(self, message: str, *, stream: bool) -> dict[str, object]:
        messages = [{"role": "user", "content": message}]
        return {"model": self.model, "messages": messages, "stream": stream}


_PROVIDERS = (
    _Provider(
        "openai", OPENAI_MODEL, "/v1/chat/completions", {"Authorization": "Bearer bench"}, {}
    ),
    _Provider(
        "anthropic",
        ANTHROPIC_MODEL,
        "/v1/messages",
        {"x-api-key": "bench", "anthropic-version": "2023-06-01"},
        {"max_tokens": 1000},
    ),
)


def _beside(provider: _Provider, providers: Server, ours: Server, peer: Server) -> Iterator[Figure]:
    name = provider.name
    whole, streamed = (
        {
            "direct": provider.directly(providers, _ANSWER, stream=stream),
            "ours": provider.through_service(ours, _ANSWER, stream=stream),
            "peer": provider.through_peer(peer, _ANSWER, stream=stream),
        }
        for stream in (False, True)
    )
    _warm(*whole.values(), *streamed.values())

    rates = _rates({"ours": (ours, whole["ours"]), "peer": (peer, whole["peer"])})
    yield _told(f"{name} /chat: requests per CPU second", rates["ours"], "/s")
    yield _told(f"{name} /chat: requests per CPU second, LiteLLM", rates["peer"], "/s")
    times = _quotients(rates["ours"], rates["peer"])
    yield _told(f"{name} /chat: times LiteLLM's rate", times, "", floor=5)

    added = _added(whole, first=False)
    yield from _percentiles(f"{name} /chat: added", added["ours"])
    yield from _percentiles(f"{name} /chat: added, LiteLLM", added["peer"])
    share = _quotients(added["ours"].p99, added["peer"].p99)
    yield _told(f"{name} /chat: share of LiteLLM's added p99", share, "", limit=0.33)

    added = _added(streamed, first=True)
    title = f"{name} /chat/stream: first text, added"
    yield from _percentiles(title, added["ours"], limit=5)
    yield from _percentiles(f"{title}, LiteLLM", added["peer"])

    for how, message in ((_ALONE, _LONG), (_RUSH, _FAST)):
        title = f"{name}: CPU per chunk{how}"
        long = provider.through_service(ours, message, stream=True)
        yield _told(title, _per_chunk(ours, streamed["ours"], long), "us", limit=60)
        long = provider.through_peer(peer, message, stream=True)
        yield _told(f"{title}, LiteLLM", _per_chunk(peer, streamed["peer"], long), "us")
        yield _told(f"{title}, a bare relay", _relayed(provider, providers, message), "us")


def _relayed(provider: _Provider, providers: Server, message: str) -> list[float]:
    """What the sockets cost that every gateway has."""
    with relay(providers.url) as server:
        short, long = (provider.directly(server, said, stream=True) for said in (_ANSWER, message))
        return _per_chunk(server, short, long)


def _with_store(provider: _Provider, providers: Server, ours: Server) -> Iterator[Figure]:
    name = f"{provider.name} with store"
    whole, streamed = (
        {
            "direct": provider.directly(providers, _ANSWER, stream=stream),
            "ours": provider.through_service(ours, _ANSWER, stream=stream),
        }
        for stream in (False, True)
    )
    _warm(*whole.values(), *streamed.values())
    rates = _rates({"ours": (ours, whole["ours"])})
    yield _told(f"{name} /chat: requests per CPU second", rates["ours"], "/s")
    added = _added(whole, first=False, times=_STORED_CALLS)["ours"]
    yield from _percentiles(f"{name} /chat: added", added)
    added = _added(streamed, first=True, times=_STORED_CALLS)["ours"]
    yield from _percentiles(f"{name} /chat/stream: first text", added)
    long = provider.through_service(ours, _LONG, stream=True)
    yield _told(f"{name} CPU per chunk{_ALONE}", _per_chunk(ours, streamed["ours"], long), "us")


def _warm(*calls: Call) -> None:
    for call in calls:
        asyncio.run(at_once(call, _WARMING_CALLS, _CONNECTIONS))


def _rates(called: Mapping[str, tuple[Server, Call]]) -> dict[str, list[float]]:
    """Of each round: calls in a second of the server's CPU."""
    rates: dict[str, list[float]] = {name: [] for name in called}
    for _ in range(_ROUNDS):
        for name, (server, call) in called.items():
            rates[name].append(_RATE_CALLS / _cpu(server, call, _RATE_CALLS, _CONNECTIONS))
    return rates


@dataclass(frozen=True, slots=True)
class _Added:
    """What a gateway adds, in ms, in each round."""

    p50: list[float]
    p99: list[float]


def _added(
    calls: Mapping[str, Call], *, first: bool, times: int = _LATENCY_CALLS
) -> dict[str, _Added]:
    """By gateway: what it adds until the first text, or until the end."""
    added = {name: _Added([], []) for name in calls if name != "direct"}
    for _ in range(_ROUNDS):
        taken = asyncio.run(in_turn(calls, times))
        quantiles = {name: _quantiles(times, first=first) for name, times in taken.items()}
        for name, kept in added.items():
            kept.p50.append(quantiles[name][49] - quantiles["direct"][49])
            kept.p99.append(quantiles[name][98] - quantiles["direct"][98])
    return added


def _quantiles(times: Sequence[Taken], *, first: bool) -> list[float]:
    seconds = [taken.first if first else taken.whole for taken in times]
    return [quantile * _MILLISECONDS for quantile in statistics.quantiles(seconds, n=100)]


def _per_chunk(server: Server, short: Call, long: Call) -> list[float]:
    """Of each round: us that a stream's chunk costs, those of a short one taken off with all that
    a stream costs whatever its length.
    """
    spent = []
    for _ in range(_ROUNDS):
        begun = _cpu(server, short, _STREAMS * _REPEATED, _STREAMS) / _REPEATED
        whole = _cpu(server, long, _STREAMS, _STREAMS)
        chunks = _STREAMS * (_CHUNKS - _SHORT)
        spent.append((whole - begun) / chunks * _MICROSECONDS)
    return spent


def _cpu(server: Server, call: Call, times: int, connections: int) -> float:
    before = server.cpu_seconds()
    asyncio.run(at_once(call, times, connections))
    return server.cpu_seconds() - before


def _quotients(ours: Sequence[float], peers: Sequence[float]) -> list[float]:
    """Round by round: what slows one slows the other."""
    return [own / peer for own, peer in zip(ours, peers, strict=True)]


def _percentiles(name: str, added: _Added, limit: float | None = None) -> Iterator[Figure]:
    yield _told(f"{name} p50", added.p50, "ms")
    yield _told(f"{name} p99", added.p99, "ms", limit=limit)


def _told(
    name: str,
    rounds: Sequence[float],
    unit: str,
    *,
    limit: float | None = None,
    floor: float | None = None,
) -> Figure:
    """The median of the rounds, and how far they lie apart."""
    remark = f"{min(rounds):.2f} to {max(rounds):.2f}"
    return Figure(name, statistics.median(rounds), unit, limit, floor, remark)
