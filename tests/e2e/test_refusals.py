"""Who is refused: at the deployed API, and by the front door."""

import json

import httpx
import pytest
from botocore.credentials import Credentials

from contracts.client.signing import SigV4
from tests.e2e.conftest import ACCOUNT, REGION, chat_request, problem

ROUTES = [
    ("GET", "/ready"),
    ("GET", "/api/v1/providers"),
    ("POST", "/api/v1/sessions?user_id=1"),
    ("POST", "/api/v1/chat"),
    ("POST", "/api/v1/chat/stream"),
]
CHAT = {"message": "let me in", "project_id": 1, "user_id": 7}


@pytest.fixture(scope="module")
def stranger(cloud):
    """A role of the account that may call every API, as far as its own policy goes."""
    iam = cloud.client("iam")
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole"}
    trust["Principal"] = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    iam.create_role(
        RoleName="stranger",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )
    everything = {"Effect": "Allow", "Action": "execute-api:*", "Resource": "*"}
    iam.put_role_policy(
        RoleName="stranger",
        PolicyName="everything",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [everything]}),
    )
    yield "stranger"
    iam.delete_role_policy(RoleName="stranger", PolicyName="everything")
    iam.delete_role(RoleName="stranger")


def call(url: str, method: str, path: str, **options) -> httpx.Response:
    body = {} if method == "GET" else {"json": CHAT}
    return httpx.request(method, f"{url}{path}", timeout=60, **body, **options)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_unsigned(cloud, method, path):
    problem(call(cloud.execute_api(), method, path), 403, "unsigned_or_unknown_route")


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_signed_by_a_role_that_is_not_listed(cloud, stranger, method, path):
    response = call(cloud.execute_api(), method, path, auth=cloud.signed(stranger))
    assert response.status_code == 403, response.text
    assert "explicit deny in a resource-based policy" in response.text


def test_a_listed_role_is_let_in(cloud):
    response = call(cloud.execute_api(), "GET", "/ready", auth=cloud.signed("local-operator"))
    assert response.status_code == 200, response.text


def test_a_forged_signature(cloud):
    real = cloud.role("local-operator")
    forged = SigV4(
        region=REGION, credentials=Credentials(real.access_key, "not the secret", real.token)
    )
    problem(call(cloud.execute_api(), "GET", "/ready", auth=forged), 403, "invalid_signature")


@pytest.mark.parametrize("path", ["/api/v1/chat", "/api/v1/chat/stream", "/api/v1/sessions"])
@pytest.mark.parametrize("header", ["x-amzn-request-context", "X-Amzn-Request-Context"])
def test_a_context_that_the_client_made(cloud, path, header):
    context = json.dumps({"identity": {"userArn": "arn:aws:iam::1:role/admin"}})
    for url, auth in (
        (cloud.execute_api(), cloud.signed("local-operator")),
        (cloud.ai, None),
    ):
        response = call(url, "POST", f"{path}?user_id=1", headers={header: context}, auth=auth)
        problem(response, 400, "forbidden_header")


def test_health_answers_anyone_and_everywhere(cloud, stranger):
    for response in (
        call(cloud.execute_api(), "GET", "/health"),
        call(cloud.execute_api(), "GET", "/health", auth=cloud.signed(stranger)),
        call(cloud.ai, "GET", "/health"),
    ):
        assert response.status_code == 200
        assert response.json() == {"status": "healthy", "service": "ai-service"}


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost:1"])
def test_the_door_refuses_a_foreign_host(cloud, host):
    problem(call(cloud.ai, "GET", "/health", headers={"Host": host}), 403)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
def test_the_door_refuses_a_foreign_origin(cloud, origin):
    problem(call(cloud.ai, "POST", "/api/v1/chat", headers={"Origin": origin}), 403)


def test_the_door_refuses_a_form(cloud):
    for content in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        response = httpx.post(
            f"{cloud.ai}/api/v1/chat", content=b"message=x", headers={"Content-Type": content}
        )
        problem(response, 415)


def test_the_door_knows_the_service_that_is_not_there_yet(cloud):
    problem(call(cloud.door("PROJECTFLOW"), "GET", "/health"), 503)


def test_the_door_sends_a_signed_request_to_the_address_it_can_be_signed_for(cloud):
    response = call(cloud.ai, "GET", "/ready", auth=cloud.signed("local-operator"))
    assert cloud.api_id() in problem(response, 421)["detail"]


def test_another_services_user_sees_nothing(ai, session):
    body = chat_request(session, "whose is this?", stream=False)
    for claim in ({"user_id": 8}, {"project_id": 2}):
        problem(ai.post("/api/v1/chat", json=body | claim), 404)
