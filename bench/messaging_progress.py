"""Live progress: how soon a client has what a worker posts, and what each connection costs.

The latency is of a local cloud of the measure's own: from the worker's signed call of the API until
the client of the front door's WebSocket has the frame. The cost is of the pusher and its client of
the management API, against a server on loopback that answers at once.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection

import httpx
from botocore.credentials import Credentials
from botocore.session import get_session

from bench.figure import Figure
from bench.local_cloud import local_cloud
from contracts.client.signing import SigV4
from contracts.messaging.client import MessageClient
from contracts.messaging.progress import ProgressCreate, Ticket
from functions.messaging.adapters.connections_api import ConnectionsApi
from functions.messaging.domain.connections import Member
from functions.messaging.domain.push import Pushed, Pusher
from servicekit.clock import utc_now
from tests.fakes.messaging_realtime import Clock, MemoryTable

_MESSAGES = 200
_WARMING = 20
_CONNECTIONS = 5_000
_LIMIT_MS = 200.0
_REGION = "us-east-1"
_WORKER = "arn:aws:iam::000000000000:role/santaclaude-local-ai-worker"
_PERCENT = 100


def measure() -> Iterator[Figure]:
    """Both."""
    yield from measure_fan_out()
    with local_cloud() as cloud:
        yield from _latencies(*asyncio.run(_follow(cloud.aws, cloud.messaging)))


def measure_fan_out() -> Iterator[Figure]:
    """What the pusher does for one message to many connections."""
    members = [
        Member(
            connection_id=f"connection-{n}",
            topic="job:1",
            shard=0,
            connected_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        for n in range(_CONNECTIONS)
    ]
    frame = json.dumps({"type": "progress", "topic": "job:1", "data": {"x": "y" * 500}})

    async def push(pusher: Pusher) -> Pushed:
        return await pusher.push(frame, members, asyncio.get_running_loop().time() + 300)

    with _management_api() as url:
        sockets = ConnectionsApi(url)
        pusher = Pusher(sockets, MemoryTable(Clock()), utc_now)
        asyncio.run(pusher.push(frame, members[:100], float("inf")))
        cpu, wall = _cpu_seconds(), time.monotonic()
        done = asyncio.run(push(pusher))
        cpu, wall = _cpu_seconds() - cpu, time.monotonic() - wall
        sockets.close()
    yield Figure("push: connections not reached", len(members) - done.pushed, "", 0)
    yield Figure("push: CPU per connection", cpu / len(members) * 1000, "ms")
    yield Figure("push: frames a second of one process", len(members) / wall, "/s")


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _latencies(posts: list[float], arrivals: list[float]) -> Iterator[Figure]:
    for name, values, limit in (
        ("worker -> WebSocket client", arrivals, _LIMIT_MS),
        ("worker: its call of POST /progress/batch", posts, None),
    ):
        cuts = statistics.quantiles(values, n=_PERCENT)
        yield Figure(f"{name}, p50", cuts[49] * 1000, "ms")
        yield Figure(f"{name}, p95", cuts[94] * 1000, "ms", limit)


async def _follow(aws: str, door: str) -> tuple[list[float], list[float]]:
    """Seconds of each call, and from its beginning until the client had its frame."""
    from websockets.asyncio.client import connect  # noqa: PLC0415 - for clients alone

    topic = "job:bench"
    async with httpx.AsyncClient(base_url=door, timeout=60) as http:
        issued = await http.post("/api/v1/tickets", json={"topics": [topic]})
    ticket = Ticket.model_validate(issued.json())
    posts: list[float] = []
    arrivals: list[float] = []
    auth = SigV4(region=_REGION, credentials=_worker(aws))
    async with (
        MessageClient(_api(aws), auth=auth) as worker,
        connect(f"{ticket.url}?ticket={ticket.ticket}", ping_interval=None) as client,
    ):

        async def arrival() -> float:
            await client.recv()
            return time.monotonic()

        for number in range(_WARMING + _MESSAGES):
            arriving = asyncio.create_task(arrival())
            began = time.monotonic()
            message = {"topic": topic, "data": {"n": number}, "event_id": f"{began}"}
            await worker.post_progress_batch([ProgressCreate.model_validate(message)])
            posted = time.monotonic()
            arrived = await arriving
            if number >= _WARMING:
                posts.append(posted - began)
                arrivals.append(arrived - began)
    return posts, arrivals


def _client(aws: str, service: str):  # type: ignore[no-untyped-def] # noqa: ANN202
    return get_session().create_client(
        service,
        endpoint_url=aws,
        region_name=_REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def _worker(aws: str) -> Credentials:
    """The AI service's worker, as the local cloud knows it."""
    answer = _client(aws, "sts").assume_role(RoleArn=_WORKER, RoleSessionName="bench")
    keys = answer["Credentials"]
    return Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


def _api(aws: str) -> str:
    name = "/santaclaude/local/messaging/api-url"
    url: str = _client(aws, "ssm").get_parameter(Name=name)["Parameter"]["Value"]
    return url


@contextmanager
def _management_api() -> Iterator[str]:
    """A server in a process of its own that takes every frame at once."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(theirs,), daemon=True
    )
    os.environ.setdefault("AWS_DEFAULT_REGION", _REGION)
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/live"
    finally:
        process.terminate()
        process.join()


def _serve(port: Connection) -> None:
    asyncio.run(_answer_all(port))


async def _answer_all(port: Connection) -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    port.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length or 0))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


if __name__ == "__main__":
    for figure in measure():
        print(figure.line(), flush=True)
