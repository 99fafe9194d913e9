"""Summaries: what makes one due, how a worker makes it, and what the next prompts begin with."""

import asyncio
import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from functions.ai.domain import catalogue, summariser
from functions.ai.domain.errors import (
    ContentRefusedError,
    ContextTooLongError,
    ProviderRejectedError,
    ProviderThrottledError,
    ProviderUnavailableError,
)
from functions.ai.domain.inference import Completion, Prompt, Text, Usage
from functions.ai.domain.job_dispatcher import JobDispatcher
from functions.ai.domain.job_ports import JobMessage, SummaryWanted
from functions.ai.domain.job_worker import FIRST_PAUSE_SECONDS, HIDDEN_SECONDS, JobUnfinishedError
from functions.ai.domain.models import SessionChanges
from functions.ai.domain.summaries import Summary
from functions.ai.domain.tokens import text_tokens, utterance_tokens
from functions.ai.routes import job_queue
from servicekit.errors import StoreUnavailableError
from tests.fakes.ai_app import chat_body
from tests.fakes.jobs import (
    MAX_RECEIVES,
    Jobs,
    MemoryEvents,
    MemoryProgress,
    MemoryQueues,
    record,
)
from tests.fakes.messages import call, results

pytestmark = pytest.mark.anyio

WINDOW = 3_000
DONE = Completion(Usage(10, 40))
POLICY = {"default": [], "fallbacks": []}
ON = POLICY | {"summaries": {}}
TEXT = "They counted."


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A window that a few messages fill."""
    listed = catalogue._listed

    def shrunk(*args: Any) -> Any:
        return replace(listed(*args), context_window=WINDOW)

    monkeypatch.setattr(catalogue, "_listed", shrunk)
    monkeypatch.setattr("functions.ai.domain.runner.WATCH_SECONDS", 0.01)


class Talk(Jobs):
    """A conversation of project 7 and user 3, and the worker that keeps its summary."""

    session_id = ""

    async def begin(self, policy: Any = ON, **fields: Any) -> None:
        answer = await self.service.call("PUT", "/api/v1/routing/project-7", policy)
        assert answer.status_code == 200, answer.text
        self.session_id = (await self.service.new_session(**fields))["session_id"]

    async def say(self, text: str, **fields: Any) -> str:
        """The id of a turn that was answered."""
        self.provider.script = [["y" * 300], DONE]
        body = chat_body(session_id=self.session_id, message=text, **fields)
        answer = await self.service.call("POST", "/api/v1/chat", body)
        assert answer.status_code == 200, answer.text
        turn_id: str = answer.json()["turn_id"]
        return turn_id

    async def talk(self, turns: int = 20) -> str:
        """Until a turn leaves a summary to be made."""
        for number in range(turns):
            turn_id = await self.say(f"{number} " + "x" * 300)
            if self.due(turn_id):
                return turn_id
        raise AssertionError("nothing was left out")

    def due(self, turn_id: str) -> int | None:
        due = self.memory.turns.turns[turn_id].summary
        return due.up_to if due else None

    async def add(self, count: int, text: str = "x" * 300) -> None:
        """Messages that no model answers."""
        for number in range(count):
            for role in ("user", "assistant"):
                body = {"role": role, "content": f"{role} {number} {text}"}
                path = f"/api/v1/sessions/{self.session_id}/messages"
                answer = await self.service.call("POST", path, body)
                assert answer.status_code == 200, answer.text

    async def work(self, turn_id: str, receives: int = 1, script: Any = None) -> list[Prompt]:
        """What the worker asked."""
        before = len(self.provider.prompts)
        self.provider.script = script or [[TEXT], DONE]
        body = json.dumps({"turn_id": turn_id, "task": "summary"})
        await job_queue.work(self.worker, record(turn_id, receives, body=body))
        return list(self.provider.prompts[before:])

    async def unfinished(self, turn_id: str, receives: int = 1, script: Any = None) -> int:
        """After how many seconds the message comes again."""
        with pytest.raises(JobUnfinishedError):
            await self.work(turn_id, receives, script)
        _, seconds = self.queues.hidden[-1]
        return seconds

    @property
    def summary(self) -> Summary | None:
        return self.memory.summaries.kept.get(self.session_id)

    @property
    def last_prompt(self) -> Prompt:
        prompt: Prompt = self.provider.prompts[-1]
        return prompt

    def charges(self) -> list[Any]:
        """Of what was no turn's."""
        turns = self.memory.turns.turns
        return [c for c in self.memory.money.charges.values() if c.turn_id not in turns]


@pytest.fixture
def talk() -> Talk:
    return Talk()


def text_of(prompt: Prompt) -> str:
    (said,) = prompt.utterances
    (part,) = said.parts
    assert isinstance(part, Text)
    return part.text


def size(prompt: Prompt) -> int:
    return sum(map(text_tokens, prompt.system)) + sum(map(utterance_tokens, prompt.utterances))


async def test_a_turn_that_leaves_something_out_leaves_a_summary_to_be_made(talk):
    await talk.begin()
    turn_id = await talk.talk()
    (first, *_) = talk.last_prompt.utterances
    stored = talk.memory.sessions.stored[talk.session_id]
    kept = next(m for m in stored if first.parts == (Text(m.draft.content),))
    assert talk.due(turn_id) == kept.sequence - 1
    earlier = [t for t in talk.memory.turns.turns.values() if t.turn_id != turn_id]
    assert earlier
    assert all(turn.summary is None for turn in earlier)
    # It belongs to the request.
    assert talk.memory.turns.turns[turn_id].summary.request_id
    # It was not waited for.
    assert talk.summary is None


async def test_where_no_policy_wants_any_none_is_due_and_none_is_used(talk):
    await talk.begin(POLICY)
    with pytest.raises(AssertionError, match="nothing was left out"):
        await talk.talk(12)
    assert len(talk.last_prompt.utterances) < 23
    talk.memory.summaries.kept[talk.session_id] = Summary("Of old", 2, talk.clock())
    await talk.say("And?")
    assert "Of old" not in repr(talk.last_prompt)


async def test_a_turn_that_failed_has_none_made(talk):
    await talk.begin()
    await talk.talk()
    talk.provider.script = [ProviderRejectedError()]
    body = chat_body(session_id=talk.session_id)
    assert (await talk.service.call("POST", "/api/v1/chat", body)).status_code == 502
    failed = [t for t in talk.memory.turns.turns.values() if t.status == "failed"]
    assert [turn.summary for turn in failed] == [None]


async def test_what_is_due_goes_to_the_normal_queue_by_its_turns_id(talk):
    await talk.begin()
    turn_id = await talk.talk()
    due = talk.memory.turns.turns[turn_id].summary
    queues, bus, progress = MemoryQueues(), MemoryEvents(), MemoryProgress()
    dispatcher = JobDispatcher(queues, bus, progress)
    for _ in range(2):
        await dispatcher.dispatch([SummaryWanted(turn_id, due)])
    message = JobMessage(turn_id, due.request_id, due.traceparent, "summary")
    assert queues.sent == [("normal", message)]
    assert (bus.told, progress.notes) == ([], [])


async def test_the_worker_makes_it_and_the_next_prompt_begins_with_it(talk):
    await talk.begin(system_prompt="Be brief")
    turn_id = await talk.talk()
    kept = talk.last_prompt.utterances
    (asked,) = await talk.work(turn_id)
    assert (asked.model, asked.tools) == ("amazon.nova-lite-v1:0", ())
    assert asked.max_output_tokens == WINDOW // 4
    assert size(asked) + asked.max_output_tokens <= WINDOW
    text = text_of(asked)
    assert "User:\n0 xxx" in text
    assert "Assistant:\nyyy" in text
    assert "Be brief" not in text
    assert "<summary>" not in text
    assert (talk.summary.text, talk.summary.up_to) == (TEXT, talk.due(turn_id))
    next_id = await talk.say("And?")
    prompt = talk.last_prompt
    assert prompt.system == ("Be brief",)
    first = prompt.utterances[0]
    assert first.parts == (Text(talk.summary.preface), *kept[0].parts)
    assert prompt.utterances[1 : len(kept)] == kept[1:]
    assert talk.due(next_id) is None


async def test_the_next_summary_tells_of_the_one_before_and_of_what_followed_it(talk):
    await talk.begin()
    await talk.work(await talk.talk())
    first = talk.summary
    turn_id = await talk.talk()
    (asked,) = await talk.work(turn_id, script=[[" They counted on. \n"], DONE])
    text = text_of(asked)
    assert f"<summary>\n{TEXT}\n</summary>" in text
    assert "User:\n0 xxx" not in text
    assert talk.summary.text == "They counted on."
    assert talk.summary.up_to == talk.due(turn_id) > first.up_to


async def test_calls_keep_their_results_behind_a_summary(talk):
    await talk.begin()
    path = f"/api/v1/sessions/{talk.session_id}/messages"
    for number in range(6):
        for body in (
            {"role": "user", "content": f"Look {number} " + "x" * 300},
            {"role": "assistant", "content": "", "tool_calls": [call(f"c{number}")]},
            {"role": "user", "content": "", "tool_results": results(f"c{number}")},
            {"role": "assistant", "content": "Found"},
        ):
            assert (await talk.service.call("POST", path, body)).status_code == 200
    (asked,) = await talk.work(await talk.talk())
    assert "[Calls t as c0: {}]" in text_of(asked)
    assert "[Result of c0: of c0]" in text_of(asked)
    await talk.say("And then?")
    (first, *_) = talk.last_prompt.utterances
    assert first.parts[0] == Text(talk.summary.preface)
    assert isinstance(first.parts[1], Text)


async def test_a_message_that_comes_twice_costs_one_call(talk):
    await talk.begin()
    turn_id = await talk.talk()
    assert len(await talk.work(turn_id)) == 1
    assert await talk.work(turn_id, receives=2) == []
    assert len(talk.charges()) == 1


async def test_a_message_of_what_is_told_of_waits_for_nobody(talk):
    await talk.begin()
    turn_id = await talk.talk()
    await talk.work(turn_id)
    # Another turn's is being made.
    lease = int(talk.clock.now.timestamp()) + 500
    talk.memory.summaries.leases[talk.session_id] = lease
    assert await talk.work(turn_id, receives=2) == []
    assert talk.memory.summaries.leases == {talk.session_id: lease}


async def test_of_two_workers_at_once_one_calls_and_the_other_comes_again(talk):
    await talk.begin()
    turn_id = await talk.talk()
    talk.provider.asked.clear()
    first = asyncio.create_task(talk.work(turn_id, script=[None, [TEXT], DONE]))
    await talk.provider.asked.wait()
    asked = len(talk.provider.prompts)
    seconds = await talk.unfinished(turn_id)
    assert seconds <= FIRST_PAUSE_SECONDS
    talk.provider.go.set()
    await first
    assert await talk.work(turn_id, receives=2) == []
    assert len(talk.provider.prompts) == asked
    assert talk.summary.up_to == talk.due(turn_id)


async def test_two_workers_that_begin_at_once_make_one_call(talk):
    await talk.begin()
    turn_id = await talk.talk()
    before = len(talk.provider.prompts)
    done = await asyncio.gather(
        talk.work(turn_id), talk.work(turn_id), talk.work(turn_id), return_exceptions=True
    )
    assert {type(result) for result in done} <= {list, JobUnfinishedError}
    assert len(talk.provider.prompts) == before + 1


async def test_a_message_that_is_late_undoes_nothing(talk):
    await talk.begin()
    early = await talk.talk()
    await talk.add(2)
    late = await talk.say("And?")
    assert talk.due(late) > talk.due(early)
    await talk.work(late)
    assert await talk.work(early, script=[["Old news"], DONE]) == []
    assert (talk.summary.text, talk.summary.up_to) == (TEXT, talk.due(late))


async def test_a_long_gap_is_told_in_pieces_that_fit(talk):
    await talk.begin()
    await talk.add(40)
    turn_id = await talk.say("And?")
    asked = await talk.work(turn_id)
    assert len(asked) > 3
    assert all(size(prompt) + WINDOW // 4 <= WINDOW for prompt in asked)
    whole = "".join(map(text_of, asked))
    for number in range(30):
        assert whole.count(f"user {number} x") == 1
        assert whole.count(f"assistant {number} x") == 1
    # A piece ends with its exchange.
    assert all(text_of(p).split("<conversation>\n")[1].startswith("User:") for p in asked)
    assert talk.summary.up_to == talk.due(turn_id)
    assert len(talk.charges()) == len(asked)


async def test_of_a_message_that_is_longer_than_the_window_the_middle_is_left_out(talk):
    await talk.begin()
    await talk.add(1, "Begin " + "9" * 9_000 + " end")
    await talk.add(8)
    turn_id = await talk.say("And?")
    asked = await talk.work(turn_id)
    told = [text_of(prompt) for prompt in asked if "Begin" in text_of(prompt)]
    assert len(told) == 2
    assert all("[...]" in text and " end" in text for text in told)
    assert all(size(prompt) + WINDOW // 4 <= WINDOW for prompt in asked)
    assert talk.summary.up_to == talk.due(turn_id)


async def test_what_a_crash_leaves_is_gone_on_with(talk, monkeypatch):
    await talk.begin()
    await talk.add(40)
    turn_id = await talk.say("And?")
    keep = talk.memory.summaries.keep
    kept = []

    async def failing(*args: Any) -> bool:
        if len(kept) == 2:
            raise StoreUnavailableError
        kept.append(args[1])
        return await keep(*args)

    with monkeypatch.context() as patch:
        patch.setattr(talk.memory.summaries, "keep", failing)
        assert await talk.unfinished(turn_id) <= FIRST_PAUSE_SECONDS
    assert talk.summary == kept[1]
    (again, *_) = await talk.work(turn_id, receives=2)
    assert f"<summary>\n{TEXT}" in text_of(again)
    assert talk.summary.up_to == talk.due(turn_id)


async def test_the_session_of_a_worker_that_is_gone_is_free_after_its_lease(talk):
    await talk.begin()
    turn_id = await talk.talk()
    # It was killed between its call and the end: nobody let go.
    now = int(talk.clock.now.timestamp())
    talk.memory.summaries.leases[talk.session_id] = now + 500
    assert await talk.unfinished(turn_id) <= FIRST_PAUSE_SECONDS
    seconds = await talk.unfinished(turn_id, MAX_RECEIVES - 1)
    assert seconds > 499
    talk.clock.pass_seconds(seconds)
    assert len(await talk.work(turn_id, MAX_RECEIVES)) == 1
    assert talk.memory.summaries.leases == {}


def test_a_worker_is_done_before_its_lease_is_over():
    assert summariser.BEGIN_SECONDS + summariser.PIECE_SECONDS < summariser.LEASE_SECONDS


async def test_a_worker_whose_time_is_over_leaves_the_rest_to_the_next(talk, monkeypatch):
    await talk.begin()
    await talk.add(40)
    turn_id = await talk.say("And?")
    monkeypatch.setattr(summariser, "BEGIN_SECONDS", -1)
    assert await talk.unfinished(turn_id) <= FIRST_PAUSE_SECONDS
    assert talk.memory.summaries.leases == {}


@pytest.mark.parametrize(
    "error",
    [
        ProviderThrottledError(retry_after=120),
        ProviderUnavailableError(),
        RuntimeError("whatever"),
    ],
)
async def test_what_may_pass_has_the_message_come_again(talk, error):
    await talk.begin()
    turn_id = await talk.talk()
    seconds = await talk.unfinished(turn_id, script=[error])
    assert (seconds > 120) == isinstance(error, ProviderThrottledError)
    assert (talk.summary, talk.charges()) == (None, [])
    assert len(await talk.work(turn_id, receives=2)) == 1
    assert talk.summary


async def test_a_summary_that_broke_off_is_paid_and_not_kept(talk):
    await talk.begin()
    turn_id = await talk.talk()
    await talk.unfinished(turn_id, script=[["They"], ProviderUnavailableError()])
    assert talk.summary is None
    (charge,) = talk.charges()
    assert charge.estimated


async def test_a_model_that_is_silent_is_not_waited_for(talk, monkeypatch):
    await talk.begin()
    turn_id = await talk.talk()
    monkeypatch.setattr(summariser, "PIECE_SECONDS", 0.02)
    await talk.unfinished(turn_id, script=[["They"], None])
    assert talk.provider.broken_off == 1
    assert len(talk.charges()) == 1


@pytest.mark.parametrize(
    "script",
    [
        [ProviderRejectedError()],
        [ContentRefusedError()],
        [[" "], DONE],
        [["I cannot"], Completion(Usage(10, 4), stop="refused")],
    ],
)
async def test_what_does_not_pass_is_given_up_and_turns_go_on(talk, script):
    await talk.begin()
    turn_id = await talk.talk()
    assert len(await talk.work(turn_id, script=script)) == 1
    assert talk.summary is None
    # The next turn works as without, and asks again.
    assert talk.due(await talk.say("And?"))


async def test_a_provider_that_counts_more_gets_smaller_pieces(talk):
    await talk.begin()
    await talk.add(20)
    turn_id = await talk.say("And?")
    asked = await talk.work(turn_id, script=[ContextTooLongError()])
    lengths = [len(text_of(prompt)) for prompt in asked]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] < lengths[0] / 3
    assert len(asked) == 4
    assert talk.summary is None


async def test_an_exhausted_budget_makes_none_and_asks_nobody(talk):
    await talk.begin()
    turn_id = await talk.talk()
    body = {"daily_limit": "0.000001"}
    answer = await talk.service.call("PUT", "/api/v1/budgets/project-7", body)
    assert answer.status_code == 200, answer.text
    talk.clock.pass_seconds(60)
    asked = await talk.work(turn_id)
    assert (asked, talk.summary, talk.memory.money.holds) == ([], None, [])
    assert {seconds for _, seconds in talk.queues.hidden} <= {HIDDEN_SECONDS}


async def test_it_is_paid_as_any_call(talk):
    await talk.service.call("PUT", "/api/v1/budgets/user-3", {"daily_limit": "5"})
    await talk.begin()
    turn_id = await talk.talk()
    path = "/api/v1/usage?project_id=7&from=2026-11-22&to=2026-11-22"
    before = (await talk.service.call("GET", path)).json()["total"]
    await talk.work(turn_id)
    after = (await talk.service.call("GET", path)).json()["total"]
    assert after["calls"] == before["calls"] + 1
    assert after["output_tokens"] == before["output_tokens"] + 40
    (charge,) = talk.charges()
    assert (charge.project_id, charge.user_id) == (7, 3)
    assert (charge.session_id, charge.model) == (talk.session_id, "amazon.nova-lite-v1:0")
    assert talk.memory.money.holds == []
    budget = (await talk.service.call("GET", "/api/v1/budgets/user-3")).json()
    assert budget["periods"][0]["spent"] == after["cost"]


async def test_a_hold_that_expired_meanwhile_is_made_up_for(talk):
    await talk.service.call("PUT", "/api/v1/budgets/user-3", {"daily_limit": "5"})
    await talk.begin()
    turn_id = await talk.talk()
    talk.provider.asked.clear()
    working = asyncio.create_task(talk.work(turn_id, script=[None, [TEXT], DONE]))
    await talk.provider.asked.wait()
    talk.memory.money.holds.clear()
    talk.provider.go.set()
    await working
    assert talk.summary
    assert len(talk.charges()) == 1


async def test_the_policy_may_name_another_model(talk):
    model = {"provider": "bedrock", "model": "llama3.2"}
    await talk.begin(POLICY | {"summaries": {"model": model}})
    (asked,) = await talk.work(await talk.talk())
    assert asked.model == "llama3.2"


async def test_a_session_that_was_deleted_meanwhile_is_left_nothing(talk):
    await talk.begin()
    turn_id = await talk.talk()
    talk.provider.asked.clear()
    working = asyncio.create_task(talk.work(turn_id, script=[None, [TEXT], DONE]))
    await talk.provider.asked.wait()
    path = f"/api/v1/sessions/{talk.session_id}"
    assert (await talk.service.call("DELETE", path)).status_code == 200
    talk.provider.go.set()
    await working
    assert (talk.summary, talk.memory.summaries.leases) == (None, {})
    # It was billed all the same.
    *_, charge = talk.memory.money.charges.values()
    assert charge.usage == Usage(10, 40)
    assert charge.turn_id != turn_id
    assert await talk.work(turn_id, receives=2) == []


async def test_a_session_that_is_over_needs_none(talk):
    await talk.begin()
    turn_id = await talk.talk()
    changes = SessionChanges({"status": "completed"}, talk.clock())
    await talk.memory.sessions.change(talk.session_id, changes)
    assert await talk.work(turn_id) == []


@pytest.mark.parametrize("turn_id", ["nothing", ""])
async def test_a_message_of_no_turn_is_done(talk, turn_id):
    assert await talk.work(turn_id) == []


async def test_a_message_of_a_turn_that_left_nothing_is_done(talk):
    await talk.begin()
    assert await talk.work(await talk.say("Hi")) == []


async def test_deleting_a_session_removes_its_summary(talk):
    await talk.begin()
    await talk.work(await talk.talk())
    await talk.service.call("DELETE", f"/api/v1/sessions/{talk.session_id}")
    assert talk.memory.summaries.kept == {}


async def test_an_export_has_the_summary_behind_its_sessions_messages(talk):
    await talk.begin()
    await talk.work(await talk.talk())
    answer = await talk.service.call("GET", "/api/v1/users/3/export")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    types = [line["type"] for line in lines]
    place = types.index("summary")
    assert types[place - 1] == "message"
    told = lines[place]
    assert (told["session_id"], told["summary"]["text"]) == (talk.session_id, TEXT)
    assert lines[-1]["counts"]["summaries"] == 1


async def test_a_summary_that_leaves_no_room_for_the_question_is_left_out(talk):
    await talk.begin()
    await talk.work(await talk.talk(), script=[["z" * 4_000], DONE])
    await talk.say("And " + "x" * 6_300)
    (said,) = talk.last_prompt.utterances
    assert len(said.parts) == 1


async def test_a_question_that_is_tried_again_is_not_told_what_came_after_it(talk):
    await talk.begin()
    talk.provider.script = [ProviderRejectedError()]
    body = chat_body(session_id=talk.session_id, message="Early")
    await talk.service.call("POST", "/api/v1/chat", body, Idempotency_Key="k1")
    await talk.work(await talk.talk())
    assert talk.summary.up_to > 1
    talk.provider.script = [["At last"], DONE]
    answer = await talk.service.call("POST", "/api/v1/chat", body, Idempotency_Key="k1")
    assert answer.status_code == 200, answer.text
    (said,) = talk.last_prompt.utterances
    assert said.parts == (Text("Early"),)


async def test_a_job_begins_with_the_summary_too(talk):
    await talk.begin()
    await talk.work(await talk.talk())
    job_id = await talk.create(session_id=talk.session_id, message="And?")
    await job_queue.work(talk.worker, record(job_id))
    assert talk.last_prompt.utterances[0].parts[0] == Text(talk.summary.preface)


async def test_no_content_is_logged(talk, caplog):
    await talk.begin()
    with caplog.at_level(logging.DEBUG):
        turn_id = await talk.talk()
        await talk.unfinished(turn_id, script=[RuntimeError()])
        await talk.work(turn_id, script=[[" "], DONE])
        await talk.work(turn_id)
    logged = repr([record.__dict__ for record in caplog.records])
    assert TEXT not in logged
    assert "xxx" not in logged
    assert "yyy" not in logged
