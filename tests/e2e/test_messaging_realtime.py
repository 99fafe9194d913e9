"""Live progress through the deployed local cloud: tickets, the WebSocket at the door, a job."""

import asyncio
import json
from contextlib import aclosing

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from contracts.messaging.client import MessageClient
from contracts.messaging.progress import ProgressCreate, ProgressFrame, Ticket
from contracts.messaging.realtime import ProgressClient
from tests.e2e.conftest import chat_request, eventually, problem

WAIT_SECONDS = 60.0


def ticket(messaging, *topics: str) -> Ticket:
    response = messaging.post("/api/v1/tickets", json={"topics": list(topics), "user_id": 7})
    assert response.status_code == 201, response.text
    assert response.headers["cache-control"] == "no-store"
    return Ticket.model_validate(response.json())


def post(messaging, topic: str, **fields) -> dict:
    body = {"topic": topic, **fields}
    response = messaging.post("/api/v1/progress", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def address(issued: Ticket) -> str:
    return f"{issued.url}?ticket={issued.ticket}"


async def say(socket, **message) -> dict:
    await socket.send(json.dumps(message))
    return json.loads(await asyncio.wait_for(socket.recv(), WAIT_SECONDS))


async def reached(client: ProgressClient, topic: str, sequence: int) -> None:
    """Returns once the client has told of the sequence."""
    while client.positions[topic] != sequence:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.05)


def test_a_ticket_opens_one_connection_and_is_in_no_log(cloud, messaging):
    issued = ticket(messaging, "job:one")
    assert issued.url == f"ws://127.0.0.1:{cloud.ports['MESSAGING']}/ws"

    async def run() -> None:
        async with connect(address(issued)) as socket:
            assert await say(socket, action="ping") == {"type": "pong"}
            error = await say(socket, action="resume", topic="job:other", after=0)
            assert (error["type"], error["code"]) == ("error", "topic_not_granted")
            assert (await say(socket, action=1))["code"] == "malformed_message"
            assert (await say(socket, action="ping", padding="x" * 2000))["code"] == (
                "message_too_large"
            )
            for refused in (address(issued), f"{issued.url}?ticket={'x' * 43}", issued.url):
                with pytest.raises(InvalidStatus):
                    async with connect(refused):
                        pass

    asyncio.run(run())
    logs = [path for path in cloud.state.rglob("*") if path.is_file() and "log" in path.name]
    assert logs
    for path in logs:
        assert issued.ticket not in path.read_text(errors="replace"), path
    streams = cloud.client("logs")
    for group in streams.describe_log_groups()["logGroups"]:
        found = streams.filter_log_events(logGroupName=group["logGroupName"])["events"]
        assert issued.ticket not in json.dumps([event["message"] for event in found])


def test_nobody_else_posts_or_issues(cloud, messaging):
    refused = httpx.post(f"{cloud.execute_api('messaging')}/api/v1/tickets", json={})
    assert refused.status_code == 403
    problem(messaging.post("/api/v1/tickets", json={"topics": ["session:1"]}), 422)
    problem(messaging.post("/api/v1/progress", json={"topic": "job:1", "data": []}), 422)


def test_progress_is_seen_live_and_resumed_once(messaging):
    topic = "job:resumed"

    async def issue() -> Ticket:
        return await asyncio.to_thread(ticket, messaging, topic)

    async def tell(number: int) -> dict:
        return await asyncio.to_thread(post, messaging, topic, data={"n": number})

    async def seen(client: ProgressClient, count: int) -> list[int]:
        numbers: list[int] = []
        async with aclosing(client.follow()) as following:
            async for told in following:
                assert isinstance(told, ProgressFrame)
                numbers.append(told.data["n"])
                if len(numbers) == count:
                    break
        return numbers

    async def run() -> None:
        await tell(1)
        client = ProgressClient(issue, {topic: 0})
        following = asyncio.create_task(seen(client, 3))
        await reached(client, topic, 1)
        live = await tell(2)
        assert (live["sequence"], live["pushed"]) == (2, 1)
        await tell(3)
        assert await asyncio.wait_for(following, WAIT_SECONDS) == [1, 2, 3]
        # Nobody is connected.
        await tell(4)
        again = ProgressClient(issue, client.positions)
        following = asyncio.create_task(seen(again, 2))
        await reached(again, topic, 4)
        await tell(5)
        assert await asyncio.wait_for(following, WAIT_SECONDS) == [4, 5]

    asyncio.run(run())


def test_two_posters_leave_no_gap_and_a_repetition_is_the_same(cloud):
    async def run() -> None:
        async with MessageClient(cloud.door("MESSAGING")) as client:
            messages = [
                ProgressCreate(topic="job:two", data={"n": n}, event_id=f"e{n}") for n in range(8)
            ]
            posted = await asyncio.gather(*(client.post_progress(one) for one in messages))
            assert sorted(one.sequence for one in posted) == list(range(1, 9))
            again = await client.post_progress_batch(messages)
            assert [item.progress.sequence for item in again.results if item.progress] == [
                one.sequence for one in posted
            ]

    asyncio.run(run())


def test_a_job_is_watched_live(ai, session, cloud, messaging):
    # A function's first start takes longer than a job waits for being told of.
    post(messaging, "project:warm", data={})
    cloud.bedrock.forget_steps()
    response = ai.post(
        "/api/v1/jobs", json=chat_request(session, "Do it [[chunks=3 step]]", priority="high")
    )
    assert response.status_code == 202, response.text
    job_id = response.json()["job_id"]
    topics = {f"job:{job_id}": 0, f"project:{session['project_id']}": 0}

    async def issue() -> Ticket:
        return await asyncio.to_thread(ticket, messaging, *topics)

    async def run() -> dict[str, list[dict]]:
        told: dict[str, list[dict]] = {topic: [] for topic in topics}
        async with aclosing(ProgressClient(issue, topics).follow()) as following:
            async for frame in following:
                assert isinstance(frame, ProgressFrame)
                if frame.data["job_id"] != job_id:
                    continue
                told[frame.topic].append(frame.data)
                cloud.bedrock.step(1)
                if all(one and one[-1]["status"] == "completed" for one in told.values()):
                    return told
        raise AssertionError

    told = asyncio.run(asyncio.wait_for(run(), WAIT_SECONDS))
    job, project = told.values()
    stages = [one.get("stage") or one["status"] for one in job]
    assert [stage for stage in stages if stage != "progress"] == [
        "queued",
        "running",
        "first_text",
        "completed",
    ]
    assert [one["status"] for one in project] == ["queued", "running", "completed"]
    assert job[-1]["usage"]["output"] > 0
    assert eventually(lambda: ai.get(f"/api/v1/jobs/{job_id}").json()["status"] == "completed")
