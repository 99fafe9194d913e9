"""Every operation on conversations leaves one record, allowed or denied, before its effect."""

import json

import pytest

from functions.ai.domain.audit import Action
from servicekit.audit import AuditUnavailableError
from tests.fakes.ai_app import AiService, chat_body
from tests.fakes.prompts import said

pytestmark = pytest.mark.anyio

CHAT = "/api/v1/chat"
STREAM = "/api/v1/chat/stream"
NOBODYS = "01900000-0000-7000-8000-000000000000"
MESSAGE = {"role": "user", "content": "a secret plan"}


@pytest.fixture
def service():
    return AiService()


@pytest.fixture
async def session_id(service):
    session_id: str = (await service.new_session())["session_id"]
    service.memory.outbox.events.clear()
    return session_id


def records(service):
    """Action, outcome and reason of each record."""
    return [
        (event["action"], event["metadata"]["outcome"], event["metadata"].get("reason"))
        for event in service.memory.outbox.events
    ]


def state(service):
    """Everything that an operation could change."""
    sessions = service.memory.sessions
    return dict(sessions.sessions), {key: list(found) for key, found in sessions.stored.items()}


ALLOWED = [
    ("POST", "/api/v1/sessions?user_id=3", Action.CREATE_SESSION),
    ("GET", "/api/v1/sessions?user_id=3", Action.LIST_SESSIONS),
    ("GET", "/api/v1/sessions/{}", Action.READ_SESSION),
    ("PATCH", "/api/v1/sessions/{}", Action.UPDATE_SESSION),
    ("DELETE", "/api/v1/sessions/{}", Action.DELETE_SESSION),
    ("GET", "/api/v1/sessions/{}/messages", Action.LIST_MESSAGES),
    ("POST", "/api/v1/sessions/{}/messages", Action.ADD_MESSAGE),
    ("POST", CHAT, Action.CHAT),
    ("POST", STREAM, Action.CHAT),
]


def body_of(action: Action, session_id: str | None):
    return {
        Action.CREATE_SESSION: {
            "project_id": 7,
            "provider": "bedrock",
            "model": "llama3.2",
            "initial_message": "a secret plan",
        },
        Action.UPDATE_SESSION: {"status": "completed", "context": {"note": "a secret plan"}},
        Action.ADD_MESSAGE: MESSAGE,
        Action.CHAT: chat_body(session_id=session_id, message="a secret plan"),
    }.get(action)


@pytest.mark.parametrize(("method", "path", "action"), ALLOWED)
async def test_what_is_allowed_leaves_one_record_without_content(
    service, session_id, method, path, action
):
    answer = await service.call(
        method, path.format(session_id), body_of(action, session_id), x_request_id="request-1"
    )
    assert answer.status_code == 200, answer.text
    assert records(service) == [(action, "allowed", None)]
    (event,) = service.memory.outbox.events
    assert event["user_id"] == 3
    assert event["request_id"] == "request-1"
    assert event["metadata"]["caller"] == "caller"
    if action is not Action.LIST_SESSIONS:
        assert event["metadata"]["project_id"] == 7
        assert event["resource"] == f"ai/sessions/{event['session_id']}"
    if action not in {Action.CREATE_SESSION, Action.LIST_SESSIONS}:
        assert event["session_id"] == session_id
    assert "secret" not in json.dumps(event)


async def test_a_chat_without_a_session_leaves_one_record(service):
    for path in (CHAT, STREAM):
        await service.call("POST", path, chat_body())
    assert records(service) == [(Action.CHAT, "allowed", None)] * 2
    assert {event["session_id"] for event in service.memory.outbox.events} == set(
        service.memory.sessions.sessions
    )


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [entry for entry in ALLOWED if "{}" in entry[1] or entry[2] is Action.CHAT],
)
async def test_a_session_that_does_not_exist_is_denied_and_recorded(service, method, path, action):
    answer = await service.call(method, path.format(NOBODYS), body_of(action, NOBODYS))
    assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")
    assert records(service) == [(action, "denied", "session_not_found")]
    (event,) = service.memory.outbox.events
    assert event["resource"] == f"ai/sessions/{NOBODYS}"


@pytest.mark.parametrize("fields", [{"project_id": 8}, {"user_id": 4}])
@pytest.mark.parametrize("path", [CHAT, STREAM])
async def test_a_session_of_others_is_denied_to_whoever_asked(service, session_id, path, fields):
    body = chat_body(session_id=session_id, **fields)
    assert (await service.call("POST", path, body)).status_code == 404
    assert records(service) == [(Action.CHAT, "denied", "session_not_found")]
    (event,) = service.memory.outbox.events
    assert event["user_id"] == body["user_id"]
    assert event["metadata"]["project_id"] == body["project_id"]
    assert event["session_id"] == session_id


@pytest.mark.parametrize(
    ("path", "action"),
    [
        ("/api/v1/sessions/{}/messages", Action.ADD_MESSAGE),
        (CHAT, Action.CHAT),
        (STREAM, Action.CHAT),
    ],
)
async def test_a_session_that_is_not_active_is_denied(service, session_id, path, action):
    await service.call("PATCH", f"/api/v1/sessions/{session_id}", {"status": "completed"})
    service.memory.outbox.events.clear()
    answer = await service.call("POST", path.format(session_id), body_of(action, session_id))
    assert answer.status_code == 409
    assert records(service) == [(action, "denied", "session_not_active")]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", CHAT, {"message": ""}),
        ("POST", CHAT, chat_body(model="gpt-99")),
        ("POST", CHAT, chat_body(stream=True)),
        ("POST", "/api/v1/sessions?user_id=0", body_of(Action.CREATE_SESSION, None)),
        (
            "POST",
            "/api/v1/sessions?user_id=3",
            {**body_of(Action.CREATE_SESSION, None), "model": "gpt-99"},
        ),
        ("GET", "/api/v1/sessions", None),
        ("GET", "/api/v1/sessions?user_id=3&cursor=W10", None),
        ("GET", f"/api/v1/sessions/{NOBODYS}/messages?cursor=W10", None),
        ("GET", "/api/v1/models", None),
        ("GET", "/api/v1/providers", None),
        ("GET", "/health", None),
        ("GET", "/ready", None),
    ],
)
async def test_what_is_no_operation_leaves_no_record(service, method, path, body):
    await service.call(method, path, body)
    assert records(service) == []


async def test_an_id_that_is_none_is_not_written_down(service):
    await service.call("GET", "/api/v1/sessions/ada.lovelace@example.org")
    (event,) = service.memory.outbox.events
    assert "lovelace" not in json.dumps(event)
    assert event["resource"] == "ai/sessions/unknown"


@pytest.mark.parametrize(("method", "path", "action"), ALLOWED)
async def test_what_cannot_be_recorded_is_not_done(service, session_id, method, path, action):
    before = state(service)
    service.memory.outbox.failure = AuditUnavailableError(retry_after=1)
    answer = await service.call(method, path.format(session_id), body_of(action, session_id))
    assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert state(service) == before
    assert service.provider.prompts == []


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [entry for entry in ALLOWED if entry[0] != "GET" and entry[2] is not Action.LIST_SESSIONS],
)
async def test_the_record_is_there_before_the_effect(service, session_id, method, path, action):
    """A process that dies right after recording has done nothing."""
    before = state(service)
    append = service.memory.outbox.append

    async def append_and_die(event):
        await append(event)
        raise ConnectionError

    service.memory.outbox.append = append_and_die
    answer = await service.call(method, path.format(session_id), body_of(action, session_id))
    assert answer.status_code == 500
    assert records(service) == [(action, "allowed", None)]
    assert state(service) == before


@pytest.mark.parametrize(
    ("path", "action"),
    [
        ("/api/v1/sessions?user_id=3", Action.CREATE_SESSION),
        ("/api/v1/sessions/{}/messages", Action.ADD_MESSAGE),
        (CHAT, Action.CHAT),
        (STREAM, Action.CHAT),
    ],
)
async def test_an_answer_that_is_repeated_is_read_again_and_recorded_again(
    service, session_id, path, action
):
    for _ in range(2):
        answer = await service.call(
            "POST", path.format(session_id), body_of(action, session_id), idempotency_key="k"
        )
        assert answer.status_code == 200
    assert records(service) == [(action, "allowed", None)] * 2


async def test_a_turn_that_is_tried_again_is_recorded_again(service, session_id):
    body = chat_body(session_id=session_id)
    service.provider.script = [RuntimeError()]
    assert (await service.call("POST", CHAT, body, idempotency_key="k")).status_code == 500
    service.provider.script = [["Now"]]
    await service.call("POST", CHAT, body, idempotency_key="k")
    assert records(service) == [(Action.CHAT, "allowed", None)] * 2


async def test_what_others_add_while_the_record_is_written_reaches_the_model(service, session_id):
    append = service.memory.outbox.append

    async def append_amid_others(event):
        service.memory.outbox.append = append
        await append(event)
        for content in ("one", "two"):
            body = {"role": "user", "content": content}
            await service.call("POST", f"/api/v1/sessions/{session_id}/messages", body)

    service.memory.outbox.append = append_amid_others
    await service.call("POST", CHAT, chat_body(session_id=session_id))
    (prompt,) = service.provider.prompts
    assert prompt.utterances[0] == said("user", "one", "two", "Hi")
