"""People chat, and what they said is there after a restart."""

import asyncio
from itertools import pairwise

from contracts.ai.client import AIServiceClient
from contracts.ai.v1 import ChatRequest, SessionCreate
from tests.e2e.conftest import chat_request

TURNS = 20


async def turns(url: str, session_id: str, numbers: range, auth=None) -> list[str]:
    """Chat through the client, whole and streamed by turns; returns the answers."""
    answers = []
    async with AIServiceClient(url, auth=auth) as client:
        for number in numbers:
            request = ChatRequest(
                message=f"Turn {number}: what comes next?",
                project_id=3,
                user_id=9,
                session_id=session_id,
                stream=bool(number % 2),
            )
            if request.stream:
                chunks = [chunk async for chunk in client.chat_stream(request)]
                assert [chunk.finished for chunk in chunks[:-1]] == [False] * (len(chunks) - 1)
                assert chunks[-1].finished
                assert chunks[-1].message_id
                answers.append("".join(chunk.chunk for chunk in chunks))
            else:
                answer = await client.chat(request)
                assert answer.status == "completed"
                assert answer.message.tokens_used > 0
                assert float(answer.message.cost) > 0
                answers.append(answer.message.content)
    return answers


def test_twenty_turns_with_a_restart_in_the_middle(cloud):
    async def start() -> str:
        async with AIServiceClient(cloud.ai) as client:
            created = await client.create_session(
                SessionCreate(
                    project_id=3,
                    provider="bedrock",
                    model="amazon.nova-lite-v1:0",
                    initial_message="",
                    system_prompt="Answer in one sentence.",
                ),
                user_id=9,
            )
            return created.session_id

    async def read(session_id: str):
        async with AIServiceClient(cloud.ai) as client:
            return await client.get_session(session_id)

    session_id = asyncio.run(start())
    answers = asyncio.run(turns(cloud.ai, session_id, range(TURNS // 2)))
    before = asyncio.run(read(session_id))

    cloud.down()
    assert cloud.command("status").returncode == 3
    cloud.up()
    assert cloud.command("status").returncode == 0

    assert asyncio.run(read(session_id)) == before
    # The second half as a service calls it: signed, at the deployed API's own address below the
    # door, which passes the signature on unchanged.
    signed = f"{cloud.ai}/_aws/execute-api/{cloud.api_id()}/live"
    answers += asyncio.run(
        turns(signed, session_id, range(TURNS // 2, TURNS), cloud.signed("local-operator"))
    )

    after = asyncio.run(read(session_id))
    roles = [message.role for message in after.messages]
    assert roles == ["system"] + ["user", "assistant"] * TURNS
    assert [m.content for m in after.messages if m.role == "assistant"] == answers
    assert [m.content for m in after.messages if m.role == "user"] == [
        f"Turn {number}: what comes next?" for number in range(TURNS)
    ]
    # Every answer is a function of the whole history, so a lost message would repeat one.
    assert len(set(answers)) == TURNS


def test_lists_pages_updates_and_deletes(ai):
    created = [
        ai.post(
            "/api/v1/sessions",
            params={"user_id": 21},
            json={
                "project_id": 20,
                "provider": "bedrock",
                "model": "amazon.nova-micro-v1:0",
                "initial_message": f"number {number}",
            },
        ).json()
        for number in range(5)
    ]
    seen, cursor = [], None
    while True:
        page = ai.get(
            "/api/v1/sessions",
            params={"project_id": 20, "limit": 2} | ({"cursor": cursor} if cursor else {}),
        ).json()
        seen += [item["session_id"] for item in page["sessions"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert seen == [item["session_id"] for item in reversed(created)]

    first = created[0]["session_id"]
    changed = ai.patch(f"/api/v1/sessions/{first}", json={"status": "completed"})
    assert changed.json()["status"] == "completed"
    assert changed.json()["completed_at"]
    assert ai.delete(f"/api/v1/sessions/{first}").status_code == 200
    assert ai.get(f"/api/v1/sessions/{first}").status_code == 404
    assert ai.get(f"/api/v1/sessions/{first}/messages").status_code == 404


def test_messages_page_in_order(ai, session):
    path = f"/api/v1/sessions/{session['session_id']}/messages"
    for number in range(7):
        answer = ai.post(path, json={"role": "user", "content": f"note {number}"})
        assert answer.status_code == 200, answer.text
    contents, cursor = [], None
    while True:
        page = ai.get(path, params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        contents += [message["content"] for message in page["messages"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert contents == [f"note {number}" for number in range(7)]


def test_the_same_key_answers_the_same_and_costs_once(ai, session, cloud):
    key = {"Idempotency-Key": "e2e-same-key"}
    body = chat_request(session, "Once only [[text=an answer]]", stream=False)
    calls = len(cloud.bedrock.calls)
    first = ai.post("/api/v1/chat", json=body, headers=key)
    again = ai.post("/api/v1/chat", json=body, headers=key)
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert len(cloud.bedrock.calls) == calls + 1
    other = ai.post("/api/v1/chat", json=body | {"message": "another"}, headers=key)
    assert other.status_code == 409


def test_a_session_is_made_when_none_is_named(ai):
    answer = ai.post(
        "/api/v1/chat",
        json={"message": "Hello", "project_id": 4, "user_id": 5, "stream": False},
    ).json()
    stored = ai.get(f"/api/v1/sessions/{answer['session_id']}").json()
    assert (stored["project_id"], stored["user_id"]) == (4, 5)
    ids = [message["id"] for message in stored["messages"]]
    assert len(ids) == 2
    assert all(one < two for one, two in pairwise(ids))
