"""Jobs through the deployed stream, queues and worker."""

import json
import os
import signal

import pytest

from tests.e2e.conftest import chat_request, eventually, problem
from tests.fakes.processes import processes

WORKER = "ministack-lambda-santaclaude-local-ai-worker"
ENDED = ("completed", "failed", "cancelled")


def job_request(session: dict, message: str, **fields) -> dict:
    return chat_request(session, message, **fields)


def create(ai, session: dict, message: str, **fields) -> str:
    response = ai.post("/api/v1/jobs", json=job_request(session, message, **fields))
    assert response.status_code == 202, response.text
    assert response.json()["status"] == "queued"
    return response.json()["job_id"]


def job_of(ai, job_id: str) -> dict:
    response = ai.get(f"/api/v1/jobs/{job_id}")
    assert response.status_code == 200, response.text
    return response.json()


def ended(ai, job_id: str, seconds: float = 60.0) -> dict:
    def check():
        job = job_of(ai, job_id)
        return job if job["status"] in ENDED else None

    return eventually(check, seconds)


def contents(ai, session: dict) -> list[tuple[str, str]]:
    messages = ai.get(f"/api/v1/sessions/{session['session_id']}").json()["messages"]
    return [(message["role"], message["content"]) for message in messages]


@pytest.fixture
def told(bus_listener):
    """The events of a job that arrive on the environment's bus."""
    heard = bus_listener({"source": ["santaclaude.ai"]})

    def of(job_id: str) -> list[dict]:
        return [event for event in heard() if event["detail"]["data"]["job_id"] == job_id]

    return of


@pytest.mark.parametrize("priority", ["high", "normal"])
def test_a_job_is_done_and_told(ai, session, told, messaging, poison, priority):
    job_id = create(ai, session, "Do it [[text=Done it.]]", priority=priority)
    job = ended(ai, job_id)
    assert (job["status"], job["priority"], job["progress"]) == ("completed", priority, 1.0)
    assert job["result"]["usage"]["output"] > 0
    assert contents(ai, session) == [
        ("user", "Do it [[text=Done it.]]"),
        ("assistant", "Done it."),
    ]
    statuses = {"ai.job.queued", "running", "completed"}

    def all_told():
        events = told(job_id)
        names = {e["detail"]["data"].get("status") or e["detail-type"] for e in events}
        return events if names >= statuses else None

    events = eventually(all_told)
    assert "Done it" not in json.dumps(events)
    chain = messaging.get("/api/v1/events", params={"correlation_id": job_id}).json()["events"]
    assert [event["id"] for event in chain] == [
        f"{job_id}-1-{status}" for status in ("queued", "running", "completed")
    ]
    assert {event["detail"]["id"] for event in events} == {event["id"] for event in chain}
    assert {event.get("causation_id") for event in chain[1:]} == {chain[0]["id"]}
    assert {event["source"] for event in chain} == {"santaclaude.ai"}
    assert ai.get(f"/api/v1/turns/{job_id}").json()["message_id"] == job["result"]["message_id"]


def test_a_job_holds_its_session_and_is_followed_live(ai, session, cloud):
    cloud.bedrock.forget_steps()
    job_id = create(ai, session, "Slowly [[chunks=3 step]]")
    refused = ai.post("/api/v1/jobs", json=job_request(session, "Me too"))
    assert problem(refused, 409, "turn_in_progress")["turn_id"] == job_id
    with ai.stream("GET", f"/api/v1/turns/{job_id}/events") as response:
        lines = response.iter_lines()
        seen = []
        for line in lines:
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: ")))
                if seen[-1]["type"] == "text":
                    cloud.bedrock.step(1)
    assert [event["type"] for event in seen] == ["start", "text", "text", "text", "end"]
    assert seen[-1]["turn"]["status"] == "completed"


def test_a_killed_worker_leaves_one_answer(ai, session, cloud):
    cloud.bedrock.forget_steps()
    job_id = create(ai, session, "Survive [[chunks=2 step]]")
    eventually(lambda: job_of(ai, job_id)["status"] == "running")
    victims = eventually(lambda: processes(WORKER, cloud.state))
    for victim in victims:
        os.kill(victim, signal.SIGKILL)

    def again():
        # The call that nobody hears is let go, and the next attempt's answer let through.
        cloud.bedrock.step(1)
        job = job_of(ai, job_id)
        return job if job["status"] in ENDED else None

    job = eventually(again, 180)
    assert job["status"] == "completed"
    turn = ai.get(f"/api/v1/turns/{job_id}").json()
    assert turn["attempt"] >= 2
    answers = [content for role, content in contents(ai, session) if role == "assistant"]
    assert len(answers) == 1


def test_a_running_job_is_cancelled(ai, session, cloud):
    cloud.bedrock.forget_steps()
    job_id = create(ai, session, "Stop me [[chunks=5 step]]")
    eventually(lambda: job_of(ai, job_id)["status"] == "running")
    assert ai.post(f"/api/v1/turns/{job_id}/cancel").status_code == 200
    assert ended(ai, job_id, seconds=20)["status"] == "cancelled"
    cloud.bedrock.step(5)


def test_a_job_that_nobody_knows(ai):
    problem(ai.get("/api/v1/jobs/nothing"), 404, "job_not_found")
