"""Batches in a real Chromium: every step, what goes wrong, and what a session keeps."""

import asyncio
import base64

import pytest

from tests.fakes.browser_site import PASSWORD, BrowserSite
from tests.fakes.browser_worker import MemoryObjects, SessionRecord, WorkerProcess
from tests.fakes.processes import kill_children

pytestmark = pytest.mark.anyio

ENTER = "internal:control=enter-frame"
TITLE_LATER = "new Promise(r => setTimeout(() => r([document.title, scrollY]), 300))"
HELLO = {"name": "a.txt", "content": "aGVsbG8="}
PNG, JPEG, PDF = b"\x89PNG", b"\xff\xd8\xff", b"%PDF"


@pytest.fixture
def site():
    with BrowserSite() as server:
        yield server


@pytest.fixture
def objects():
    return MemoryObjects()


@pytest.fixture
async def worker(chromium_path, objects, site):
    made = WorkerProcess(chromium_path, objects, "env-1", [site.host])
    yield made
    await made.close()


@pytest.fixture
async def other_worker(chromium_path, objects, site):
    made = WorkerProcess(chromium_path, objects, "env-2", [site.host])
    yield made
    await made.close()


@pytest.fixture
def session():
    return SessionRecord()


def go(site, path, **fields):
    return {"action": "navigate", "url": f"{site.url}{path}", **fields}


def outcomes(reply):
    return [(one.outcome, one.error.code if one.error else None) for one in reply.result.results]


def done(reply):
    """All steps' results, which are done."""
    assert {one.outcome for one in reply.result.results} <= {"done"}, reply.result.results
    return reply.result.results


def values(reply):
    return [one.value for one in done(reply)]


def evaluate(expression, **fields):
    return {"action": "evaluate", "expression": expression, **fields}


async def test_a_form_is_filled_in(worker, session, site):
    reply = await session.run(
        worker,
        go(site, "/form"),
        {"action": "fill", "selector": "#name", "text": "Ada"},
        {"action": "type", "selector": "#name", "text": " L"},
        {"action": "press", "selector": "#name", "key": "Shift+L"},
        {"action": "select", "selector": "#colour", "values": ["g"]},
        {"action": "check", "selector": "#agree"},
        {"action": "hover", "selector": "#go"},
        {"action": "click", "selector": "#go"},
        {
            "action": "upload",
            "selector": "#file",
            "files": [{"name": "a.txt", "content": "aGVsbG8="}],
        },
        {"action": "wait", "selector": "#out >> text=hello"},
        evaluate(
            "[document.title, document.querySelector('#colour').value, "
            "document.querySelector('#agree').checked]"
        ),
        {"action": "uncheck", "selector": "#agree"},
        {"action": "text", "selector": "#out"},
    )
    results = done(reply)
    assert results[0].value == {"status": 200}
    assert (results[0].page_id, results[0].title) == ("p1", "Form")
    assert results[4].value == ["g"]
    assert results[10].value == {"result": ["Ada LL", "g", True]}
    assert results[12].value == {"text": "hello"}
    assert reply.result.continuity == "live"
    assert [(page.page_id, page.title) for page in reply.result.pages] == [("p1", "Ada LL")]


async def test_what_is_read_of_a_page(worker, session, site, objects):
    reply = await session.run(
        worker,
        go(site, "/"),
        {"action": "links"},
        {"action": "content", "format": "text"},
        go(site, "/article"),
        {"action": "content", "format": "markdown"},
        {"action": "content"},
        {"action": "screenshot"},
        {"action": "screenshot", "selector": "h1", "format": "jpeg", "quality": 50},
        {"action": "pdf"},
        {"action": "screenshot", "inline": False},
    )
    results = done(reply)
    links = [link["url"] for link in results[1].value["links"]]
    assert links == [f"{site.url}/form", f"{site.url}/login", "https://example.com/far"]
    assert results[2].value["content"].startswith("Welcome")
    assert results[4].value["content"] == "# Head\n\nSome **bold** text."
    assert "<b>bold</b>" in results[5].value["content"]
    for result, start in zip(results[6:9], (PNG, JPEG, PDF), strict=True):
        content = base64.b64decode(result.artifact.data)
        assert content.startswith(start)
        assert len(content) == result.artifact.size
        assert objects.files[f"s1/1/{result.index}"] == content
    assert results[9].artifact.data is None
    assert results[9].artifact.url == "1-9"


async def test_a_page_that_is_too_long_for_a_picture(worker, session, site):
    reply = await session.run(
        worker, go(site, "/tall"), {"action": "screenshot", "full_page": True, "format": "jpeg"}
    )
    artifact = done(reply)[1].artifact
    assert artifact.truncated
    assert artifact.size > 10_000


async def test_pages_are_opened_left_and_closed(worker, session, site):
    reply = await session.run(
        worker,
        go(site, "/popup"),
        {"action": "click", "selector": "button"},
        {"action": "wait", "load_state": "load", "page_id": "p2"},
        {"action": "open_page", "url": f"{site.url}/"},
        {"action": "click", "selector": "text=Form"},
        {"action": "wait", "url_pattern": "**/form"},
        {"action": "back"},
        {"action": "forward"},
        {"action": "reload"},
        {"action": "close_page", "page_id": "p1"},
        {"action": "scroll", "y": 10},
        {"action": "open_page"},
        {"action": "close_page"},
        # The last one that is open.
        {"action": "scroll", "y": 10},
    )
    results = done(reply)
    assert [one.page_id for one in results] == [
        "p1", "p1", "p2", "p3", "p3", "p3", "p3", "p3", "p3", None, "p3", "p4", None, "p3",
    ]  # fmt: skip
    assert results[6].url == f"{site.url}/"
    assert [(one.page_id, one.url) for one in reply.result.pages] == [
        ("p2", f"{site.url}/form"),
        ("p3", f"{site.url}/form"),
    ]


async def test_a_download_is_kept(worker, session, site, objects):
    script = f"document.body.innerHTML = '<a href=\"{site.url}/file\">get</a>'"
    reply = await session.run(
        worker, go(site, "/"), evaluate(script), {"action": "download", "selector": "a"}
    )
    artifact = done(reply)[2].artifact
    assert artifact.name == "t.csv"
    assert objects.files["s1/1/2"] == b"a,b\n1,2\n"


async def test_cookies_are_set_read_and_cleared(worker, session, site):
    cookie = {"name": "user", "value": "grace", "domain": "127.0.0.1"}
    reply = await session.run(
        worker,
        {"action": "cookies", "set": [cookie]},
        go(site, "/me"),
        {"action": "text", "selector": "#who"},
        {"action": "cookies", "clear": True},
        {"action": "reload"},
        {"action": "text", "selector": "#who"},
    )
    told = values(reply)
    assert told[0]["cookies"][0]["value"] == "grace"
    assert (told[2], told[5]) == ({"text": "grace"}, {"text": "nobody"})
    assert told[3] == {"cookies": []}


async def test_shadow_roots_and_frames_are_reached(worker, session, site):
    reply = await session.run(
        worker,
        go(site, "/shadow"),
        {"action": "click", "selector": "button"},
        go(site, "/frames"),
        {
            "action": "fill",
            "selector": "iframe >> internal:control=enter-frame >> #name",
            "text": "x",
        },
    )
    done(reply)


@pytest.mark.parametrize(("answer", "title"), [("dismiss", "no"), ("accept", "yes")])
async def test_dialogs_are_answered_and_told(worker, session, site, answer, title):
    reply = await session.run(
        worker, go(site, "/alert"), {"action": "click", "selector": "button"}, dialogs=answer
    )
    (dialog,) = done(reply)[1].dialogs
    assert (dialog.type, dialog.message, dialog.accepted) == (
        "confirm", "Really?", answer == "accept",
    )  # fmt: skip
    assert reply.result.pages[0].title == title


async def test_console_errors_are_told(worker, session, site):
    reply = await session.run(worker, go(site, "/errors"))
    said = done(reply)[0].console_errors
    assert any("it is wrong" in text for text in said)
    assert any("nothing" in text for text in said)


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ({"action": "click", "selector": "#no-such"}, "no_such_element"),
        ({"action": "click", "selector": "#hidden"}, "element_not_ready"),
        ({"action": "click", "selector": ".twin"}, "several_elements"),
        ({"action": "click", "selector": "a[[["}, "invalid_selector"),
        ({"action": "click", "selector": "aria-ref=e99"}, "no_such_element"),
        ({"action": "text", "selector": "#no-such"}, "no_such_element"),
        ({"action": "wait", "selector": "#no-such"}, "wait_timeout"),
        ({"action": "wait", "url_pattern": "**/never"}, "wait_timeout"),
        ({"action": "download", "selector": "#go"}, "no_download"),
        ({"action": "click", "selector": "#go", "page_id": "p9"}, "no_such_page"),
        (evaluate("nothing.there"), "evaluation_failed"),
        (evaluate("throw new Error('mine')"), "evaluation_failed"),
        (evaluate("("), "evaluation_failed"),
        (evaluate("for (;;) {}"), "evaluation_failed"),
        (evaluate("new Promise(() => {})"), "evaluation_failed"),
        (evaluate("NaN"), "result_not_json"),
        (evaluate("10n"), "result_not_json"),
        (evaluate("Symbol()"), "result_not_json"),
        (evaluate("const a = {}; a.a = a; a"), "result_not_json"),
        (evaluate("'x'.repeat(2000000)"), "result_too_large"),
    ],
)
async def test_a_step_that_fails_says_why_and_the_page_goes_on(worker, session, site, step, code):
    reply = await session.run(
        worker, go(site, "/form"), {"timeout_ms": 700, **step}, evaluate("1 + 1"),
        on_error="continue",
    )  # fmt: skip
    assert outcomes(reply) == [("done", None), ("failed", code), ("done", None)]
    assert reply.result.results[2].value == {"result": 2}
    assert reply.result.results[1].error.message


async def test_what_follows_a_failure_is_skipped(worker, session, site):
    reply = await session.run(
        worker, go(site, "/form"), {"action": "click", "selector": "#no", "timeout_ms": 200},
        evaluate("1"), {"action": "screenshot"},
    )  # fmt: skip
    assert [one.outcome for one in reply.result.results] == ["done", "failed", "skipped", "skipped"]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:{other}/", "denied_address"),
        ("https://127.0.0.1:{other}/", "denied_address"),
        ("http://169.254.169.254/latest/meta-data/", "denied_address"),
        ("http://[::1]/", "denied_address"),
        ("http://no-such-host.invalid/", "navigation_failed"),
        ("{site}/slow", "navigation_timeout"),
        ("{site}/loop", "navigation_failed"),
        ("http://", "invalid"),
        ("file:///etc/passwd", "invalid"),
        ("chrome://version", "invalid"),
        ("view-source:http://example.com/", "invalid"),
        ("javascript:alert(1)", "invalid"),
        ("data:text/html,x", "invalid"),
    ],
)
async def test_urls_that_lead_nowhere(worker, session, site, url, code):
    step = {
        "action": "navigate", "timeout_ms": 2_000,
        "url": url.format(site=site.url, other=site.port + 1),
    }  # fmt: skip
    if code == "invalid":
        with pytest.raises(ValueError, match="url"):
            await session.run(worker, step)
        return
    reply = await session.run(worker, step)
    if url == "http://no-such-host.invalid/":
        # The wall's answer is a page like any other.
        assert done(reply)[0].value == {"status": 502}
    else:
        assert outcomes(reply) == [("failed", code)]
    if code == "denied_address":
        assert reply.result.denied[0].times >= 1


async def test_strict_lists_are_kept_to(worker, session, site):
    reply = await session.run(
        worker, {"action": "navigate", "url": "http://example.com/"},
        egress={"sites": ["example.org"], "strict": True},
    )  # fmt: skip
    assert outcomes(reply) == [("failed", "denied_address")]
    (denied,) = reply.result.denied
    assert (denied.host, denied.port, denied.rule) == ("example.com", 80, "not_listed")


async def test_the_live_browser_goes_on(worker, session, site):
    await session.run(worker, go(site, "/form"), evaluate("window.mine = 41"))
    reply = await session.run(worker, evaluate("window.mine + 1"), require="live")
    assert values(reply) == [{"result": 42}]
    assert (reply.result.continuity, reply.result.lost) == ("live", [])


async def test_elsewhere_the_session_goes_on_from_its_checkpoint(
    worker, other_worker, session, site
):
    reply = await session.run(
        worker,
        go(site, "/login"),
        {"action": "fill", "selector": "[name=password]", "text": PASSWORD},
        {"action": "click", "selector": "button"},
        {"action": "wait", "url_pattern": "**/me"},
        {"action": "open_page", "url": f"{site.url}/storage"},
        {"action": "wait", "load_state": "networkidle"},
        evaluate("scrollTo(0, 1200)"),
    )
    done(reply)
    reply = await session.run(
        other_worker,
        {"action": "reload", "page_id": "p1"},
        {"action": "text", "selector": "#who", "page_id": "p1"},
        evaluate(
            "new Promise(r => setTimeout(() => r([document.title, scrollY]), 300))", page_id="p2"
        ),
    )
    told = values(reply)
    assert told[1] == {"text": "ada"}
    # The second visit of this session: local storage, session storage, IndexedDB, and the place.
    assert told[2] == {"result": ["2 2 2", 1200]}
    assert reply.result.continuity == "rehydrated"
    assert "memory of the pages" in reply.result.lost
    # From there on it is live again.
    reply = await session.run(other_worker, evaluate("1"))
    assert reply.result.continuity == "live"


async def test_who_wants_the_live_browser_is_refused_another(worker, other_worker, session, site):
    await session.run(worker, go(site, "/form"))
    before = list(site.requests)
    reply = await session.run(other_worker, evaluate("1"), require="live")
    assert reply.refused
    assert reply.result.continuity == "rehydrated"
    assert site.requests == before


async def test_without_a_checkpoint_the_session_is_lost(
    worker, other_worker, session, site, objects
):
    objects.broken = True
    reply = await session.run(worker, go(site, "/form"))
    assert not reply.checkpoint_stored
    reply = await session.run(other_worker, {"action": "open_page"})
    assert reply.result.continuity == "lost"
    assert [page.page_id for page in reply.result.pages] == ["p1"]


async def test_a_page_that_is_gone_is_told(worker, other_worker, session, objects, chromium_path):
    with BrowserSite() as short:
        one = WorkerProcess(chromium_path, objects, "env-9", [short.host])
        await session.run(one, {"action": "navigate", "url": f"{short.url}/form"})
        await one.close()
    reply = await session.run(other_worker, {"action": "open_page"})
    assert "page p1" in reply.result.lost


async def test_a_page_that_never_opened_is_blank_elsewhere(worker, other_worker, session):
    await session.run(worker, {"action": "navigate", "url": "https://127.0.0.1:1/"})
    reply = await session.run(other_worker, {"action": "scroll"})
    assert [page.url for page in reply.result.pages] == ["about:blank"]
    assert "page p1" not in reply.result.lost


async def test_what_nobody_foresaw_leaves_no_pages_behind(worker, session, site, monkeypatch):
    await session.run(worker, go(site, "/form"))
    browser = worker.batches._remembered.browser

    async def perform(*_, **__):
        raise RuntimeError

    monkeypatch.setattr(browser, "perform", perform)
    with pytest.raises(RuntimeError):
        await session.run(worker, evaluate("1"))
    assert not browser.alive
    reply = await session.run(worker, evaluate("1"))
    assert reply.result.continuity == "rehydrated"


async def test_another_session_gets_another_browser(worker, session, site):
    await session.run(worker, go(site, "/me"), evaluate("document.cookie = 'user=eve'"))
    other = SessionRecord("s2")
    reply = await other.run(worker, go(site, "/me"), {"action": "text", "selector": "#who"})
    assert values(reply)[1] == {"text": "nobody"}
    assert reply.result.continuity == "live"
    # The first one's browser is gone, its state is not.
    reply = await session.run(worker, {"action": "reload"}, {"action": "text", "selector": "#who"})
    assert values(reply)[1] == {"text": "eve"}
    assert reply.result.continuity == "rehydrated"


async def test_references_of_a_snapshot_hold_live_and_elsewhere(
    worker, other_worker, session, site
):
    reply = await session.run(worker, go(site, "/form"), {"action": "aria"})
    snapshot = values(reply)[1]["snapshot"]
    line = next(line for line in snapshot.splitlines() if '"Name"' in line)
    ref = line.partition("[ref=")[2].partition("]")[0]
    selector = f"aria-ref={ref}"
    done(await session.run(worker, {"action": "fill", "selector": selector, "text": "a"}))
    reply = await session.run(
        other_worker,
        {"action": "fill", "selector": selector, "text": "b"},
        evaluate("document.querySelector('#name').value"),
    )
    assert values(reply)[1] == {"result": "b"}
    assert reply.result.continuity == "rehydrated"


async def test_a_snapshot_has_an_end(worker, session, site):
    reply = await session.run(worker, go(site, "/form"), {"action": "aria", "max_characters": 100})
    told = values(reply)[1]
    assert told["truncated"]
    assert len(told["snapshot"]) <= 100


def kill_browser():
    kill_children("chromium")


async def test_a_killed_browser_is_healed_and_what_is_safe_is_done_again(
    worker, session, site, monkeypatch
):
    await session.run(worker, go(site, "/me"), evaluate("document.cookie = 'user=ada'"))
    kill_browser()
    reply = await session.run(worker, {"action": "reload"}, {"action": "text", "selector": "#who"})
    # It died between two batches: rebuilt before the first step.
    assert values(reply)[1] == {"text": "ada"}
    assert reply.result.continuity == "rehydrated"


async def test_a_browser_that_dies_in_a_step(worker, session, site):
    """What may be done twice is, of the other nobody knows."""
    await session.run(worker, go(site, "/me"), evaluate("document.cookie = 'user=ada'"))

    def on(step):
        original = worker.batches._remembered.browser.perform

        async def perform(wanted, seconds, **options):
            if wanted.action == step and not perform.killed:
                perform.killed = True
                kill_browser()
            return await original(wanted, seconds, **options)

        perform.killed = False
        worker.batches._remembered.browser.perform = perform

    on("navigate")
    reply = await session.run(worker, go(site, "/me"), {"action": "text", "selector": "#who"})
    assert values(reply)[1] == {"text": "ada"}
    assert (reply.heals, reply.result.results[0].retried) == (1, True)
    assert reply.result.continuity == "rehydrated"

    on("evaluate")
    reply = await session.run(
        worker, evaluate("1"), {"action": "text", "selector": "#who"}, on_error="continue"
    )
    assert outcomes(reply) == [("unknown", "browser_crashed"), ("done", None)]
    assert reply.result.results[1].value == {"text": "ada"}


async def test_a_crashed_page_takes_no_other_along(worker, session, site):
    await session.run(worker, go(site, "/me"), {"action": "open_page", "url": f"{site.url}/form"})
    page = worker.batches._remembered.browser._pages["p2"].page
    cdp = await page.context.new_cdp_session(page)
    async with page.expect_event("crash"):
        crashing = asyncio.ensure_future(cdp.send("Page.crash"))
    # Nobody answers that call.
    crashing.cancel()
    reply = await session.run(
        worker, {"action": "screenshot", "page_id": "p2"}, {"action": "screenshot", "page_id": "p1"}
    )
    assert done(reply)[0].retried
    assert reply.heals == 1


async def test_time_is_up(worker, session, site):
    reply = await session.run(
        worker, go(site, "/form"), evaluate("new Promise(r => setTimeout(r, 3000))"),
        {"action": "screenshot"}, seconds=5.0, on_error="continue",
    )  # fmt: skip
    assert outcomes(reply)[2] == ("failed", "out_of_time")
    assert reply.checkpoint_stored
