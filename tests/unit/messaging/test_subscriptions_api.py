"""The calls about subscriptions, through the app."""

import json
import logging

import httpx
import pytest
from mangum import Mangum  # noqa: F401  (the app is served by it)

from functions.messaging.domain.dependencies import Control
from functions.messaging.domain.webhook_errors import RefusedUrlError
from functions.messaging.domain.webhook_ports import Answered
from functions.messaging.routes.apps import create_control_app
from servicekit.audit import AuditUnavailableError
from tests.fakes.messaging_parts import only
from tests.fakes.messaging_webhooks import Webhooks

pytestmark = pytest.mark.anyio

PATH = "/api/v1/subscriptions"
ROLE = "arn:aws:sts::000000000000:assumed-role/santaclaude-local-projectflow-api/x"
BODY = {"url": "https://hooks.example.com/in?token=hush", "types": ["card.*"]}
SECRET = "whsec_" + "A" * 32


class Api:
    def __init__(self) -> None:
        self.hooks = Webhooks()
        app = create_control_app(
            only(Control, service_name="m", checks={}, subscriptions=self.hooks.service)
        )

        async def gateway(scope, receive, send):
            context = {"requestId": "r", "identity": {"userArn": ROLE}}
            scope["aws.event"] = {"requestContext": context}
            await app(scope, receive, send)

        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(gateway), base_url="https://m"
        )

    async def call(self, method, path=PATH, body=None, **headers):
        return await self._client.request(method, path, json=body, headers=headers)

    async def made(self, **fields):
        answer = await self.call("POST", body=BODY | fields)
        assert answer.status_code == 201, answer.text
        return answer.json()


@pytest.fixture
def api():
    return Api()


async def test_a_secret_is_told_once_and_by_nothing_else(api, caplog):
    caplog.set_level(logging.DEBUG)
    made = await api.made()
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    one = f"{PATH}/{made['subscription_id']}"
    rotated = await api.call("POST", f"{one}/secrets", {})
    assert rotated.status_code == 201
    assert rotated.headers["cache-control"] == "no-store"
    new = rotated.json()["secret"]
    answers = [
        await api.call("GET"),
        await api.call("GET", one),
        await api.call("PATCH", one, {"version": 1, "description": "d"}),
        await api.call("POST", f"{one}/test"),
        await api.call("GET", f"{one}/deliveries"),
        await api.call("DELETE", one),
        await api.call("GET", one),
    ]
    assert [answer.status_code for answer in answers] == [200] * 6 + [404]
    told = "".join(answer.text for answer in answers) + caplog.text
    told += json.dumps(api.hooks.outbox.events) + repr(api.hooks.records.records)
    for hidden in (secret, new, secret[6:], new[6:]):
        assert hidden not in told
    assert "hush" not in json.dumps(api.hooks.outbox.events) + caplog.text
    assert answers[1].json() == made


async def test_a_secret_that_was_given_is_not_told(api):
    made = await api.made(secret=SECRET)
    assert made["secret"] is None
    answer = await api.call("POST", f"{PATH}/{made['subscription_id']}/secrets", {"secret": SECRET})
    assert answer.json()["secret"] is None
    assert SECRET not in answer.text


async def test_the_same_key_makes_one_subscription_and_tells_no_secret_again(api):
    first = await api.call("POST", body=BODY, **{"Idempotency-Key": "k"})
    again = await api.call("POST", body=BODY, **{"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["secret"]
    assert again.json() == first.json() | {"secret": None}
    other = await api.call("POST", body=BODY | {"ordered": True}, **{"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert len((await api.call("GET")).json()["subscriptions"]) == 1


async def test_a_repeated_rotation_rotates_once(api):
    made = await api.made()
    path = f"{PATH}/{made['subscription_id']}/secrets"
    first = await api.call("POST", path, {}, **{"Idempotency-Key": "k"})
    kept = api.hooks.stores.subscriptions.kept_secrets[made["subscription_id"]]
    again = await api.call("POST", path, {}, **{"Idempotency-Key": "k"})
    assert again.json() == first.json() | {"secret": None}
    assert api.hooks.stores.subscriptions.kept_secrets[made["subscription_id"]] == kept
    assert kept.former == made["secret"]
    other = await api.call("POST", path, {"overlap_seconds": 0}, **{"Idempotency-Key": "k"})
    assert other.status_code == 409


async def test_a_url_that_nothing_is_posted_to_is_refused_clearly(api):
    api.hooks.endpoints.refused = RefusedUrlError("Its host has an address that is not public.")
    answer = await api.call("POST", body=BODY)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"field": "url", "message": "Its host has an address that is not public."}
    ]
    assert api.hooks.outbox.events[-1]["metadata"]["outcome"] == "denied"
    api.hooks.endpoints.refused = None
    made = await api.made()
    api.hooks.endpoints.refused = RefusedUrlError("No.")
    change = {"version": 1, "url": "https://10.0.0.1/"}
    answer = await api.call("PATCH", f"{PATH}/{made['subscription_id']}", change)
    assert answer.status_code == 422


async def test_a_change_needs_the_version_that_was_read(api):
    made = await api.made()
    one = f"{PATH}/{made['subscription_id']}"
    change = {"version": 1, "types": ["*"], "filter": {"tenant": "user:1"}, "max_concurrency": 9}
    changed = (await api.call("PATCH", one, change)).json()
    assert changed["version"] == 2
    assert (changed["types"], changed["max_concurrency"]) == (["*"], 9)
    assert changed["filter"] == {"tenant": "user:1"}
    stale = await api.call("PATCH", one, change)
    assert (stale.status_code, stale.json()["code"]) == (409, "subscription_changed")
    cleared = await api.call("PATCH", one, {"version": 2, "filter": None, "enabled": False})
    assert cleared.json()["filter"] is None
    assert cleared.json()["disabled"]["reason"] == "by_caller"


@pytest.mark.parametrize(
    ("answered", "delivered"),
    [
        (Answered(12, 204), True),
        (Answered(12, 500, "status_500", "secret text"), False),
        (Answered(12, error="timeout"), False),
    ],
)
async def test_a_test_tells_how_it_went(api, answered, delivered):
    made = await api.made()
    api.hooks.endpoints.script = [answered]
    answer = await api.call("POST", f"{PATH}/{made['subscription_id']}/test")
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("event_id") == api.hooks.endpoints.ids[-1]
    assert body == {
        "delivered": delivered,
        "status": answered.status,
        "latency_ms": 12,
        "error": answered.error,
    }
    assert json.loads(api.hooks.endpoints.posted[-1].body)["type"] == "webhook.test"


CALLS = [
    ("POST", "", BODY),
    ("GET", "", None),
    ("GET", "/{}", None),
    ("PATCH", "/{}", {"version": 1, "enabled": False}),
    ("POST", "/{}/secrets", {}),
    ("POST", "/{}/test", None),
    ("GET", "/{}/deliveries", None),
    ("DELETE", "/{}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_what_cannot_be_recorded_is_not_done(api, method, path, body):
    made = await api.made()
    stores = api.hooks.stores
    before = (dict(stores.subscriptions.stored), dict(stores.subscriptions.kept_secrets))
    api.hooks.outbox.failure = AuditUnavailableError(retry_after=1)
    answer = await api.call(method, PATH + path.format(made["subscription_id"]), body)
    assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
    assert (stores.subscriptions.stored, stores.subscriptions.kept_secrets) == before
    assert api.hooks.endpoints.posted == []


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_each_call_leaves_one_record(api, method, path, body):
    made = await api.made()
    api.hooks.outbox.events.clear()
    await api.call(method, PATH + path.format(made["subscription_id"]), body)
    (event,) = api.hooks.outbox.events
    assert event["metadata"]["outcome"] == "allowed"


@pytest.mark.parametrize(("method", "path", "body"), [call for call in CALLS if "{}" in call[1]])
async def test_what_is_not_there_is_a_404_and_its_id_is_not_written_down(api, method, path, body):
    answer = await api.call(method, PATH + path.format("lovelace@example.org"), body)
    assert (answer.status_code, answer.json()["code"]) == (404, "subscription_not_found")
    (event,) = api.hooks.outbox.events
    assert "lovelace" not in json.dumps(event)
    assert event["resource"] == "messaging/subscriptions/unknown"


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor="])
async def test_queries_are_checked(api, query):
    assert (await api.call("GET", f"{PATH}?{query}")).status_code == 422


async def test_there_are_so_many_and_no_more(api, monkeypatch):
    monkeypatch.setattr("functions.messaging.domain.subscription_service.MAX_SUBSCRIPTIONS", 1)
    await api.made()
    answer = await api.call("POST", body=BODY)
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_subscriptions")
