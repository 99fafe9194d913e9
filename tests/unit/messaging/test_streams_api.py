"""The calls about streams: reports, dead letters, redrives, replays, figures."""

from datetime import UTC, datetime, timedelta

import pytest

from contracts.messaging.deliveries import MAX_REPORTS
from contracts.messaging.streams import ALL_STREAMS
from functions.messaging.domain.figures import Depth
from functions.messaging.domain.replays import Progress, StreamReplays
from servicekit.bus_event import BusEvent
from tests.fakes.messaging_consuming import DIED_AT, letter
from tests.fakes.messaging_events import MessageService

pytestmark = pytest.mark.anyio

ROLE = "arn:aws:sts::000000000000:assumed-role/santaclaude-prod-projectflow-api"
AI = "arn:aws:sts::000000000000:assumed-role/santaclaude-prod-ai-worker"
STREAM = "/api/v1/streams/kanban-events"

BODY = {
    "from": "2026-11-20T00:00:00Z",
    "to": "2026-11-21T00:00:00Z",
    "stream": "kanban-events",
    "types": ["card.moved"],
}


@pytest.fixture
def service():
    return MessageService()


def report(**fields):
    return {
        "event_id": "e-1",
        "consumer": "projectflow-search",
        "attempt": 1,
        "outcome": "done",
        "duration_ms": 12,
        "started_at": "2026-11-22T12:00:00Z",
        "event_type": "card.moved",
        "tenant": "project:42",
        **fields,
    }


async def tell(service, *reports, role=ROLE):
    return await service.call(
        "POST", "/api/v1/deliveries", {"deliveries": list(reports)}, role=role
    )


class TestDeliveries:
    async def test_attempts_become_part_of_the_events_life(self, service):
        answer = await tell(service, report(outcome="failed", error="timeout"), report(attempt=2))
        assert answer.status_code == 200
        assert answer.json() == {
            "recorded": 2,
            "results": [
                {"index": 0, "event_id": "e-1", "status": 200},
                {"index": 1, "event_id": "e-1", "status": 200},
            ],
        }
        told = await service.life.of("e-1")
        assert [(m.attempt, m.details["outcome"]) for m in told] == [(1, "failed"), (2, "done")]
        assert told[0].details["error"] == "timeout"

    async def test_told_twice_it_is_one_attempt(self, service):
        for _ in range(3):
            await tell(service, report())
        assert len(await service.life.of("e-1")) == 1

    async def test_a_duplicate_does_not_take_the_place_of_what_was_done(self, service):
        await tell(service, report())
        await tell(service, report(outcome="duplicate", delivery_id="m-2"))
        outcomes = sorted(m.details["outcome"] for m in await service.life.of("e-1"))
        assert outcomes == ["done", "duplicate"]

    async def test_another_services_consumer_is_refused_and_the_rest_recorded(self, service):
        answer = await tell(
            service, report(), report(consumer="ai-cards"), report(consumer="projectflowx")
        )
        assert answer.status_code == 200
        results = answer.json()["results"]
        assert [one["status"] for one in results] == [200, 403, 403]
        assert results[1]["error"]["code"] == "not_your_consumer"
        assert answer.json()["recorded"] == 1
        assert (await tell(service, report(consumer="ai-cards"), role=AI)).json()["recorded"] == 1

    async def test_a_death_is_a_dead_letter(self, service):
        await tell(service, report(attempt=3, outcome="dead", error="timeout", delivery_id="m-1"))
        (shelved,) = service.letters.shelved["kanban-events"].values()
        assert shelved.letter.error == "timeout"
        assert shelved.letter.tenant == "project:42"
        (moment,) = await service.life.of("e-1")
        assert moment.kind == "dead"

    async def test_a_consumer_is_known_by_its_event_where_it_does_not_tell_the_type(self, service):
        answer = await service.call(
            "POST", "/api/v1/events", {"event_type": "e2e.happened", "payload": {}}
        )
        event_id = answer.json()["message_id"]
        bare = report(event_id=event_id)
        del bare["event_type"], bare["tenant"]
        await tell(service, bare)
        assert set(service.consumers.known) == {("default-events", "projectflow-search")}

    async def test_what_is_no_event_has_a_letter_too(self, service):
        await tell(
            service,
            {
                "event_id": "message-7",
                "consumer": "projectflow-search",
                "attempt": 3,
                "outcome": "dead",
                "error": "not_an_event",
                "started_at": "2026-11-22T12:00:00Z",
            },
        )
        (shelved,) = service.letters.shelved["default-events"].values()
        assert (shelved.letter.event_type, shelved.letter.tenant) == ("unknown", "none")

    @pytest.mark.parametrize(
        "fields",
        [
            {"event_id": "a#b"},
            {"event_id": ""},
            {"consumer": "has space"},
            {"attempt": -1},
            {"attempt": True},
            {"outcome": "maybe"},
            {"error": "a person's words"},
            {"duration_ms": -1},
            {"started_at": "yesterday"},
            {"tenant": "#"},
        ],
    )
    async def test_bad_reports_are_refused(self, service, fields):
        answer = await tell(service, report(**fields))
        assert answer.status_code == 422
        assert service.life.moments == {}

    @pytest.mark.parametrize("count", [0, MAX_REPORTS + 1])
    async def test_a_call_has_one_to_a_hundred(self, service, count):
        answer = await tell(service, *(report(attempt=n + 1) for n in range(count)))
        assert answer.status_code == 422

    async def test_without_identity_nothing_is_told(self, service):
        assert (await tell(service, report(), role=None)).status_code == 401


class TestDeadLetters:
    async def test_each_is_explained(self, service):
        await tell(
            service,
            *(report(attempt=n, outcome="failed", error="timeout") for n in (1, 2, 3)),
            report(consumer="projectflow-other"),
            report(attempt=3, outcome="dead", error="timeout"),
        )
        answer = await service.call("GET", f"{STREAM}/dead-letters")
        assert answer.status_code == 200
        page = answer.json()
        assert (page["stream"], page["dead_letter_queue"]) == (
            "kanban-events",
            "kanban-events-dlq",
        )
        (found,) = page["dead_letters"]
        assert found["error"] == "timeout"
        assert found["attempts"] == 3
        assert [one["attempt"] for one in found["history"]] == [1, 2, 3]
        assert {one["error"] for one in found["history"]} == {"timeout"}
        assert found["event_url"] == "/api/v1/events/e-1"

    async def test_pages_and_filters(self, service):
        for n in range(7):
            await service.letters.add(
                letter(
                    f"e-{n}",
                    died_at=DIED_AT + timedelta(minutes=n),
                    tenant="user:9" if n % 2 else "project:42",
                )
            )
        seen, cursor = [], ""
        while True:
            answer = await service.call("GET", f"{STREAM}/dead-letters?limit=3{cursor}")
            page = answer.json()
            seen += [one["event_id"] for one in page["dead_letters"]]
            if not page["has_more"]:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert seen == [f"e-{n}" for n in range(6, -1, -1)]
        for query, expected in {
            "tenant=user:9": {"e-1", "e-3", "e-5"},
            "type=card.created": set(),
            "older_than=2026-11-22T11:02:00Z": {"e-0", "e-1"},
            "newer_than=2026-11-22T11:05:00Z": {"e-5", "e-6"},
            "consumer=ai-cards": set(),
            "error=search_unavailable&tenant=project:42": {"e-0", "e-2", "e-4", "e-6"},
        }.items():
            answer = await service.call("GET", f"{STREAM}/dead-letters?{query}")
            assert {one["event_id"] for one in answer.json()["dead_letters"]} == expected, query

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ("limit=0", 422),
            ("limit=101", 422),
            ("cursor=nonsense", 400),
            ("older_than=1", 422),
            ("older_than=2026-11-22", 422),
            ("type=%23", 422),
            ("error=with%20space", 422),
        ],
    )
    async def test_bad_queries(self, service, query, status):
        answer = await service.call("GET", f"{STREAM}/dead-letters?{query}")
        assert answer.status_code == status

    async def test_a_stream_that_is_none(self, service):
        for path in ("/dead-letters", "/redrives", ""):
            answer = await service.call("GET", f"/api/v1/streams/nothing{path}")
            assert answer.status_code == 404
            assert answer.json()["code"] == "stream_not_found"


class TestRedrives:
    async def test_a_dry_run_counts_and_sends_nothing(self, service):
        for n in range(15):
            await service.letters.add(letter(f"e-{n}", error="a" if n < 10 else "b"))
        answer = await service.call("POST", f"{STREAM}/redrive", {"dry_run": True})
        assert answer.status_code == 200
        found = answer.json()
        assert found["matched"] == 15
        assert [(one["error"], one["count"]) for one in found["counts"]] == [("a", 10), ("b", 5)]
        assert len(found["samples"]) == 10
        assert service.tasks.sent == []
        assert service.trail.events == []

    async def test_a_redrive_is_audited_queued_and_told(self, service):
        answer = await service.call(
            "POST", f"{STREAM}/redrive", {"filter": {"tenant": "project:42"}, "rate": 5}
        )
        assert answer.status_code == 202
        begun = answer.json()
        assert begun["state"] == "queued"
        assert begun["counts"] == {"sent": 0, "failed": 0}
        assert begun["filter"] == {"tenant": "project:42"}
        assert begun["requested_by"] == "santaclaude-prod-projectflow-api"
        assert service.tasks.sent == [begun["id"]]
        assert service.trail.actions == [("messaging.redrive.create", "allowed")]
        (record,) = service.trail.events
        assert record["metadata"]["filter"] == {"tenant": "project:42"}
        assert record["metadata"]["redrive_id"] == begun["id"]
        got = await service.call("GET", f"/api/v1/redrives/{begun['id']}")
        assert got.json() == begun
        listed = await service.call("GET", f"{STREAM}/redrives")
        assert listed.json()["redrives"] == [begun]

    async def test_under_one_key_there_is_one_redrive(self, service):
        body = {"rate": 5}
        path = f"{STREAM}/redrive"
        first = await service.call("POST", path, body, idempotency_key="k-1")
        again = await service.call("POST", path, body, idempotency_key="k-1")
        assert again.json()["id"] == first.json()["id"]
        other = await service.call("POST", path, {"rate": 6}, idempotency_key="k-1")
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
        another = await service.call("POST", path, body, idempotency_key="k-2")
        assert another.json()["id"] != first.json()["id"]

    async def test_what_cannot_be_audited_is_not_done(self, service):
        service.trail.down = True
        answer = await service.call("POST", f"{STREAM}/redrive", {})
        assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
        assert (service.tasks.sent, service.redrives.redrives) == ([], {})

    async def test_what_cannot_be_queued_has_failed(self, service):
        service.tasks.down = True
        answer = await service.call("POST", f"{STREAM}/redrive", {})
        assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable")
        (redrive,) = service.redrives.redrives.values()
        assert redrive.state == "failed"

    async def test_under_a_key_it_is_queued_by_the_next_call(self, service):
        service.tasks.down = True
        await service.call("POST", f"{STREAM}/redrive", {}, idempotency_key="k-1")
        service.tasks.down = False
        answer = await service.call("POST", f"{STREAM}/redrive", {}, idempotency_key="k-1")
        assert answer.status_code == 202
        assert service.tasks.sent == [answer.json()["id"]]

    async def test_cancelling(self, service):
        begun = (await service.call("POST", f"{STREAM}/redrive", {})).json()
        path = f"/api/v1/redrives/{begun['id']}/cancel"
        answer = await service.call("POST", path)
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        assert (await service.call("POST", path)).status_code == 200
        assert service.trail.actions[-1] == ("messaging.redrive.cancel", "allowed")
        assert (await service.call("POST", "/api/v1/redrives/none/cancel")).status_code == 404

    async def test_what_has_ended_cannot_be_cancelled(self, service):
        begun = (await service.call("POST", f"{STREAM}/redrive", {})).json()
        await service.redrives.end(begun["id"], "completed")
        answer = await service.call("POST", f"/api/v1/redrives/{begun['id']}/cancel")
        assert (answer.status_code, answer.json()["code"]) == (409, "redrive_ended")
        assert service.trail.actions[-1] == ("messaging.redrive.cancel", "denied")

    @pytest.mark.parametrize(
        "body",
        [
            {"rate": 0},
            {"rate": 1001},
            {"rate": "fast"},
            {"filter": {"type": "#"}},
            {"filter": {"older_than": "soon"}},
            {"filter": []},
            [],
        ],
    )
    async def test_bad_bodies(self, service, body):
        answer = await service.call("POST", f"{STREAM}/redrive", body)
        assert answer.status_code == 422
        assert service.tasks.sent == []


class TestReplays:
    async def test_a_replay_is_audited_kept_and_begun(self, service):
        answer = await service.call("POST", "/api/v1/replays", BODY)
        assert answer.status_code == 202
        begun = answer.json()
        assert begun["id"].startswith("replay-")
        assert (begun["from"], begun["to"]) == (BODY["from"], BODY["to"])
        assert (begun["state"], begun["types"]) == ("starting", ["card.moved"])
        assert [one.replay_id for one in service.archive.started] == [begun["id"]]
        assert service.trail.actions == [("messaging.replay.create", "allowed")]

    async def test_its_progress_is_the_archives(self, service):
        begun = (await service.call("POST", "/api/v1/replays", BODY)).json()
        at = datetime(2026, 11, 20, 9, tzinfo=UTC)
        service.archive.states[begun["id"]] = Progress("running", at, None)
        got = (await service.call("GET", f"/api/v1/replays/{begun['id']}")).json()
        assert (got["state"], got["replayed_until"]) == ("running", "2026-11-20T09:00:00Z")
        service.archive.states[begun["id"]] = Progress("completed", None, at)
        listed = (await service.call("GET", "/api/v1/replays")).json()["replays"]
        assert [(one["state"], one["replayed_until"]) for one in listed] == [
            ("completed", "2026-11-20T09:00:00Z")
        ]
        # What has ended is kept longer than EventBridge knows it.
        del service.archive.states[begun["id"]]
        got = (await service.call("GET", f"/api/v1/replays/{begun['id']}")).json()
        assert got["state"] == "completed"

    @pytest.mark.parametrize(
        "fields",
        [
            {"from": "2026-11-21T00:00:00Z", "to": "2026-11-20T00:00:00Z"},
            {"from": "2026-11-21T00:00:00Z", "to": "2026-11-21T00:00:00Z"},
            {"to": "2026-11-23T00:00:00Z"},
            {"from": "2026-10-01T00:00:00Z"},
        ],
    )
    async def test_a_time_that_the_archive_does_not_have(self, service, fields):
        answer = await service.call("POST", "/api/v1/replays", {**BODY, **fields})
        assert (answer.status_code, answer.json()["code"]) == (422, "replay_range")
        assert service.archive.started == []
        assert service.trail.actions == [("messaging.replay.create", "denied")]

    @pytest.mark.parametrize(
        "fields",
        [
            {"from": None},
            {"to": "never"},
            {"stream": None},
            {"types": []},
            {"types": ["#"]},
            {"types": "card.moved"},
        ],
    )
    async def test_bad_bodies(self, service, fields):
        answer = await service.call("POST", "/api/v1/replays", {**BODY, **fields})
        assert answer.status_code == 422

    async def test_a_stream_that_is_none(self, service):
        answer = await service.call("POST", "/api/v1/replays", {**BODY, "stream": "none"})
        assert answer.status_code == 404

    async def test_an_archive_that_does_not_answer(self, service):
        service.archive.down = True
        answer = await service.call("POST", "/api/v1/replays", BODY)
        assert (answer.status_code, answer.json()["code"]) == (503, "archive_unavailable")
        (replay,) = service.replays.replays.values()
        assert replay.state == "failed"

    async def test_under_one_key_there_is_one_replay(self, service):
        service.archive.down = True
        await service.call("POST", "/api/v1/replays", BODY, idempotency_key="k-1")
        service.archive.down = False
        first = await service.call("POST", "/api/v1/replays", BODY, idempotency_key="k-1")
        service.clock.pass_seconds(40 * 86400)
        again = await service.call("POST", "/api/v1/replays", BODY, idempotency_key="k-1")
        assert first.status_code == again.status_code == 202
        assert first.json()["id"] == again.json()["id"]
        assert len(service.archive.started) == 1
        other = {**BODY, "stream": "user-events"}
        answer = await service.call("POST", "/api/v1/replays", other, idempotency_key="k-1")
        assert answer.status_code == 409

    async def test_cancelling(self, service):
        begun = (await service.call("POST", "/api/v1/replays", BODY)).json()
        path = f"/api/v1/replays/{begun['id']}/cancel"
        answer = await service.call("POST", path)
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelling")
        assert service.archive.cancelled == [begun["id"]]
        service.archive.states[begun["id"]] = Progress("completed", None, DIED_AT)
        answer = await service.call("POST", path)
        assert (answer.status_code, answer.json()["code"]) == (409, "replay_ended")
        assert (await service.call("POST", "/api/v1/replays/none/cancel")).status_code == 404

    async def test_streams_take_what_the_replay_is_for(self, service):
        begun = (await service.call("POST", "/api/v1/replays", BODY)).json()
        replays = StreamReplays(service.replays)

        async def wants(stream, event_type, replay_id=begun["id"]):
            event = BusEvent(event_id="e-1", event_type=event_type, replay_id=replay_id)
            return await replays.wants(event, stream)

        assert await wants("kanban-events", "card.moved")
        assert not await wants("kanban-events", "card.created")
        assert not await wants("user-events", "card.moved")
        assert not await wants("kanban-events", "card.moved", "replay-of-somebody")
        reads = service.replays.reads
        await wants("kanban-events", "card.moved")
        assert service.replays.reads == reads


class TestFigures:
    async def test_streams(self, service):
        service.queues.depths = {
            "kanban-events": Depth(3, 2, 1),
            "kanban-events-dlq": Depth(1, 1, 0),
        }
        service.queues.waiting = {"kanban-events": 42}
        await service.letters.add(letter())
        await tell(service, report())
        answer = await service.call("GET", STREAM)
        assert answer.status_code == 200
        found = answer.json()
        assert found.pop("consumers")[0]["name"] == "projectflow-search"
        assert found == {
            "name": "kanban-events",
            "event_types": ["card.created", "card.moved"],
            "depth": 3,
            "in_flight": 2,
            "delayed": 1,
            "oldest_age_seconds": 42,
            "dead_letters": 1,
            "dead_letter_queue": "kanban-events-dlq",
            "undelivered_dead_letters": 2,
        }
        listed = (await service.call("GET", "/api/v1/streams")).json()["streams"]
        assert [one["name"] for one in listed] == list(ALL_STREAMS)

    async def test_an_age_that_nobody_told_is_not_guessed(self, service):
        for path in (STREAM, "/api/v1/stats"):
            assert (await service.call("GET", path)).json()["oldest_age_seconds"] is None

    async def test_stats_are_those_of_the_wire(self, service):
        await tell(service, report())
        found = (await service.call("GET", "/api/v1/stats")).json()
        assert found["running"] is True
        assert found["streams_count"] == 8
        assert found["consumer_groups_count"] == 9
        assert found["stream_mapping"]["card.moved"] == "kanban-events"
        assert found["event_types"] == sorted(found["stream_mapping"])
