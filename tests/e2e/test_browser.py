"""The browser pool through the deployed stack: a real Chromium in the browser's function."""

import asyncio
import base64
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from contracts.browser.client import BrowserPoolClient
from contracts.browser.steps import NavigateStep
from contracts.client.errors import NotFoundError
from tests.e2e.conftest import eventually, problem
from tests.fakes.browser_site import PASSWORD, BrowserSite
from tests.fakes.processes import processes

SESSIONS = "/api/v1/sessions"
WORKER = "ministack-lambda-santaclaude-local-browser-worker"


@pytest.fixture
def site(cloud) -> Iterator[BrowserSite]:
    """The one site of this machine that browsers may reach."""
    with BrowserSite(cloud.site_port) as server:
        yield server


@pytest.fixture
def opened(browser) -> Iterator[dict]:
    made = open_session(browser, project_id=1)
    yield made
    browser.delete(f"{SESSIONS}/{made['session_id']}")


def open_session(browser, **body) -> dict:
    answer = browser.post(SESSIONS, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def steps(browser, session: dict, *wanted: dict, **batch) -> dict:
    answer = browser.post(
        f"{SESSIONS}/{session['session_id']}/steps", json={"steps": wanted, **batch}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def done(result: dict) -> list[dict]:
    assert {one["outcome"] for one in result["results"]} == {"done"}, result
    return result["results"]


def test_a_login_outlives_its_browser(browser, cloud, opened, site):
    result = steps(
        browser,
        opened,
        {"action": "navigate", "url": f"{site.url}/login"},
        {"action": "fill", "selector": "[name=password]", "text": PASSWORD},
        {"action": "click", "selector": "button"},
        {"action": "wait", "url_pattern": "**/me"},
        {"action": "screenshot"},
    )
    shot = done(result)[-1]["artifact"]
    assert base64.b64decode(shot["data"]).startswith(b"\x89PNG")
    assert httpx.get(shot["url"]).content == base64.b64decode(shot["data"])
    assert result["continuity"] == "live"
    assert result["pages"] == [{"page_id": "p1", "url": f"{site.url}/me", "title": "ada"}]
    live = steps(browser, opened, {"action": "text", "selector": "#who"}, require="live")
    assert live["continuity"] == "live"

    for victim in processes(WORKER, cloud.state):
        os.kill(victim, signal.SIGKILL)
    path = f"{SESSIONS}/{opened['session_id']}/steps"

    def refused() -> httpx.Response | None:
        # The call that meets the killed process is nobody's fault, and its lease has to end.
        body = {"steps": [{"action": "reload"}], "require": "live"}
        answer = browser.post(path, json=body)
        return answer if answer.status_code == 409 and "live" in answer.json()["code"] else None

    problem(eventually(refused), 409, "session_not_live")
    again = steps(browser, opened, {"action": "reload"}, {"action": "text", "selector": "#who"})
    assert done(again)[1]["value"] == {"text": "ada"}
    assert again["continuity"] == "rehydrated"
    assert "memory of the pages" in again["lost"]
    assert browser.get(f"{SESSIONS}/{opened['session_id']}").json()["continuity"] == "rehydrated"


def test_the_calls_of_version_one(browser, opened, site):
    path = f"{SESSIONS}/{opened['session_id']}/pages"
    created = browser.post(path, json={"url": f"{site.url}/form"})
    assert created.json() == {"page_id": "p1", "session_id": opened["session_id"]}
    page = f"{path}/p1"

    def call(name: str, **body) -> dict:
        answer = browser.post(f"{page}/{name}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    call("action", selector="#name", action="type", value="Ada")
    call("action", selector="#colour", action="select", value="g")
    call("action", selector="#go", action="click")
    assert call("evaluate", expression="document.title") == {"result": "Ada"}
    assert call("wait", selector="#go", timeout=1000)["message"]
    assert call("navigate", url=f"{site.url}/article")["title"] == "Article"
    assert call("content", format="markdown")["content"].startswith("# Head")
    assert "heading" in call("aria")["snapshot"]
    picture = call("screenshot", full_page=True, format="jpeg", quality=50)
    assert base64.b64decode(picture["screenshot"]).startswith(b"\xff\xd8")
    assert base64.b64decode(call("pdf")["pdf"]).startswith(b"%PDF")
    told = browser.get(page).json()
    assert (told["url"], told["title"]) == (f"{site.url}/article", "Article")
    listed = browser.get(f"{SESSIONS}/{opened['session_id']}/artifacts").json()
    assert [one["name"].rpartition("-")[2] for one in listed["artifacts"]] == ["screenshot", "pdf"]
    assert httpx.get(listed["artifacts"][1]["url"]).content.startswith(b"%PDF")
    assert browser.delete(page).json() == {"message": "The page is closed"}
    problem(browser.get(page), 404, "page_not_found")
    stats = browser.get("/api/v1/stats").json()
    assert stats["active_sessions"] >= 1
    assert opened["session_id"] in {one["session_id"] for one in stats["session_details"]}


def test_what_is_refused_is_told_and_audited(browser, cloud, audit, opened):
    ports = [cloud.ports["AI"], cloud.ports["BROWSER"], int(cloud.aws.rpartition(":")[2])]
    urls = [f"http://127.0.0.1:{port}/" for port in ports] + ["http://169.254.169.254/latest/"]
    visits = [{"action": "navigate", "url": url} for url in urls]
    result = steps(browser, opened, *visits, on_error="continue")
    assert {one["error"]["code"] for one in result["results"]} == {"denied_address"}
    assert {(one["host"], one["port"]) for one in result["denied"]} == {
        *(("127.0.0.1", port) for port in ports),
        ("169.254.169.254", 80),
    }
    resource = f"browser-session:{opened['session_id']}"

    def told() -> bool:
        found = audit.get(
            "/api/v1/events", params={"resource": resource, "action": "browser.egress"}
        )
        return len(found.json()["events"]) == len(urls)

    eventually(told)
    navigate = f"{SESSIONS}/{opened['session_id']}/pages/p1/navigate"
    problem(browser.post(navigate, json={"url": urls[0]}), 403, "address_denied")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/steps", {"steps": []}, 422),
        ("/steps", {"steps": [{"action": "fly"}]}, 422),
        ("/steps", {"steps": [{"action": "navigate", "url": "file:///etc/passwd"}]}, 422),
        ("/steps", {"steps": [{"action": "reload"}] * 51}, 422),
        ("/pages/p1/navigate", {"url": "chrome://version"}, 422),
        ("/pages/x/navigate", {"url": "https://example.com"}, 422),
        ("/pages/p9/screenshot", {}, 404),
    ],
)
def test_what_cannot_be_done(browser, opened, path, body, status):
    problem(browser.post(f"{SESSIONS}/{opened['session_id']}{path}", json=body), status)


def test_a_task_is_one_call_and_leaves_no_session(browser, site):
    before = browser.get("/api/v1/stats").json()["active_sessions"]
    answer = browser.post(
        "/api/v1/tasks",
        json={
            "url": f"{site.url}/article",
            "wait_for": "h1",
            "outputs": [
                {"action": "content", "format": "markdown"},
                {"action": "links"},
                {"action": "screenshot", "full_page": True},
                {"action": "text", "selector": "#no-such", "timeout_ms": 200},
            ],
        },
    )
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["title"], told["status"]) == ("Article", 200)
    assert [one["outcome"] for one in told["results"]] == ["done", "done", "done", "failed"]
    assert told["results"][0]["value"]["content"].startswith("# Head")
    assert base64.b64decode(told["results"][2]["artifact"]["data"]).startswith(b"\x89PNG")
    assert browser.get("/api/v1/stats").json()["active_sessions"] == before
    wanted = {"url": "http://10.0.0.1/", "outputs": [{"action": "links"}]}
    problem(browser.post("/api/v1/tasks", json=wanted), 403, "address_denied")
    problem(browser.post("/api/v1/tasks", json={"url": site.url, "outputs": []}), 422)
    assert browser.get("/api/v1/stats").json()["active_sessions"] == before


def test_sessions_end_and_nobody_elses_are_found(browser):
    problem(browser.get(f"{SESSIONS}/nothing"), 404, "session_not_found")
    session = open_session(browser, user_id=99)
    path = f"{SESSIONS}/{session['session_id']}"
    assert browser.delete(path).json() == {"message": "The session is closed"}
    problem(browser.get(path), 404, "session_not_found")
    problem(browser.post(f"{path}/steps", json={"steps": [{"action": "reload"}]}), 404)
    key = {"idempotency-key": session["session_id"]}
    first, again = (browser.post(SESSIONS, json={"user_id": 99}, headers=key) for _ in range(2))
    assert first.json()["session_id"] == again.json()["session_id"]
    problem(browser.post(SESSIONS, json={"user_id": 98}, headers=key), 409, "idempotency_conflict")
    browser.delete(f"{SESSIONS}/{first.json()['session_id']}")


def test_the_client_does_what_the_calls_do(cloud, site):
    async def use() -> None:
        async with BrowserPoolClient(cloud.door("BROWSER")) as client:
            session = await client.create_session()
            session_id = session.session_id
            result = await client.run(
                session_id,
                [NavigateStep(url=f"{site.url}/"), {"action": "screenshot", "inline": False}],
            )
            assert [one.outcome for one in result.results] == ["done", "done"]
            assert len((await client.list_artifacts(session_id)).artifacts) == 1
            assert session_id in {one.session_id for one in await client.list_sessions()}
            assert (await client.stats()).active_sessions >= 1
            await client.delete_session(session_id)
            assert await client.get_session(session_id) is None
            with pytest.raises(NotFoundError):
                await client.run(session_id, [{"action": "reload"}])

    asyncio.run(use())


def test_a_user_has_so_many_sessions_and_no_more(browser):
    made = [open_session(browser, user_id=77) for _ in range(5)]
    refused = problem(browser.post(SESSIONS, json={"user_id": 77}), 429, "session_limit")
    assert (refused["reason"], refused["limit"]) == ("user", 5)
    for one in made:
        browser.delete(f"{SESSIONS}/{one['session_id']}")
    open_again = open_session(browser, user_id=77)
    browser.delete(f"{SESSIONS}/{open_again['session_id']}")


def test_sessions_at_once_do_not_meet(browser, site):
    made = [open_session(browser) for _ in range(8)]

    def visit(number: int) -> list[str]:
        session = made[number]
        url = f"{site.url}/me"
        script = f"document.cookie = 'user=u{number}'"
        done(
            steps(
                browser,
                session,
                {"action": "navigate", "url": url},
                {"action": "evaluate", "expression": script},
            )
        )
        found = steps(
            browser, session, {"action": "reload"}, {"action": "text", "selector": "#who"}
        )
        return [done(found)[1]["value"]["text"], found["continuity"]]

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(visit, range(len(made))))
    assert [text for text, _ in found] == [f"u{number}" for number in range(len(made))]
    # Without an environment for each session some were restored, and say so.
    assert {continuity for _, continuity in found} <= {"live", "rehydrated"}
    for one in made:
        browser.delete(f"{SESSIONS}/{one['session_id']}")
