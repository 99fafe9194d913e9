"""A provider's key comes and goes while the service runs."""

from contextlib import suppress

import pytest

from tests.e2e.conftest import eventually, problem, secret_name

PROVIDER, MODEL = "gemini", "gemini-4-argon"
NAME = secret_name(PROVIDER)
BODY = {"project_id": 1, "user_id": 7, "provider": PROVIDER, "model": MODEL, "stream": False}


def is_listed(ai, *, active: bool) -> bool:
    """Whether both lists show the provider so: what they know may end between the two."""
    (provider,) = [p for p in ai.get("/api/v1/providers").json() if p["name"] == PROVIDER]
    (model,) = [m for m in ai.get("/api/v1/models").json() if m["name"] == MODEL]
    return {provider["is_active"], model["is_active"]} == {active}


def ask(ai, message: str):
    return ai.post("/api/v1/chat", json=BODY | {"message": message})


def answered_by(cloud, ai) -> str | None:
    """The key that a call was answered with."""
    response = ask(ai, "Hi [[text=Here]]")
    if response.status_code == 503:
        refused(response)
        return None
    assert response.json()["message"]["content"] == "Here"
    return cloud.providers.calls[-1].headers["authorization"]


def refused(response) -> None:
    detail = problem(response, 503, "provider_not_configured")["detail"]
    # The remedy.
    assert NAME in detail
    assert "GEMINI_API_KEY in .env" in detail


@pytest.fixture
def secrets(cloud):
    client = cloud.client("secretsmanager")
    yield client
    with suppress(client.exceptions.ResourceNotFoundException):
        client.delete_secret(SecretId=NAME, ForceDeleteWithoutRecovery=True)


def test_a_key_comes_and_goes(cloud, ai, secrets):
    # A key that an earlier test left in memory is read anew once the provider has refused it.
    ask(ai, "Hi [[fail=auth]]")
    eventually(lambda: is_listed(ai, active=False))
    asked = len(cloud.providers.calls)
    refused(ask(ai, "Hi"))
    with ai.stream("POST", "/api/v1/chat/stream", json=BODY | {"message": "Hi"}) as response:
        response.read()
        refused(response)
    assert len(cloud.providers.calls) == asked

    secrets.create_secret(Name=NAME, SecretString="first")
    eventually(lambda: is_listed(ai, active=True))
    assert eventually(lambda: answered_by(cloud, ai)) == "Bearer first"

    # As people do it in the console: it can be brought back for a while.
    secrets.delete_secret(SecretId=NAME)
    eventually(lambda: is_listed(ai, active=False))
    # Until its provider refuses it the one in memory serves.
    problem(ask(ai, "Hi [[fail=auth]]"), 502, "provider_access_denied")
    refused(ask(ai, "Hi"))

    secrets.restore_secret(SecretId=NAME)
    secrets.put_secret_value(SecretId=NAME, SecretString="second")
    assert eventually(lambda: answered_by(cloud, ai)) == "Bearer second"
    secrets.put_secret_value(SecretId=NAME, SecretString=" ")
    problem(ask(ai, "Hi [[fail=auth]]"), 502, "provider_access_denied")
    refused(ask(ai, "Hi"))
    # The tests behind this one have the usual.
    secrets.put_secret_value(SecretId=NAME, SecretString=f"key-of-{PROVIDER}")
    assert eventually(lambda: answered_by(cloud, ai)) == f"Bearer key-of-{PROVIDER}"
