"""A session is read from its end, as far as its model's window reaches."""

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from functions.ai.domain import history as module
from functions.ai.domain.context import fit
from functions.ai.domain.history import History
from functions.ai.domain.models import Message, Session
from functions.ai.domain.prompts import to_prompt
from functions.ai.domain.tokens import utterance_tokens
from tests.fakes.messages import call, message, results

pytestmark = pytest.mark.anyio

SESSION = Session("s1", 5, 7, 3, None, "p", "m", "active", {}, datetime(2026, 11, 22, tzinfo=UTC))


class Store:
    """Messages, and how many of them were read."""

    def __init__(self, stored: Sequence[Message]) -> None:
        self.stored = list(stored)
        self.read = 0
        self.open = 0

    async def messages(
        self,
        _session: Session,
        *,
        after: int,
        up_to: int,
        newest_first: bool,
        page_size: int,
    ) -> AsyncGenerator[Message]:
        assert newest_first
        assert page_size > 0
        self.open += 1
        try:
            for each in reversed(self.stored):
                if after < each.sequence <= up_to:
                    self.read += 1
                    yield each
        finally:
            self.open -= 1


def talk(count: int, content: str = "x" * 300) -> list[Message]:
    return [message(n, "user" if n % 2 else "assistant", content) for n in range(1, count + 1)]


def history_of(store: Any, window: int | None) -> History:
    return History(store, SESSION, window)


def sequences(history: History) -> list[int]:
    return [each.sequence for each in history.messages]


async def test_a_short_session_is_read_whole_and_goes_on_where_it_ended() -> None:
    store = Store(talk(9))
    history = history_of(store, 100_000)
    await history.read(6)
    assert sequences(history) == [1, 2, 3, 4, 5, 6]
    await history.read(8)
    history.add(store.stored[8])
    assert sequences(history) == list(range(1, 10))
    assert store.read == 8


@pytest.mark.parametrize("window", [1_000, None])
async def test_a_long_session_costs_no_more_than_its_models_window(window: int | None) -> None:
    store = Store([message(1, "system", "Be brief"), *talk(5_000)[1:]])
    if window is None:
        store.stored[1:] = talk(5_000, "x" * 30_000)[1:]
    history = history_of(store, window)
    await history.read(5_000)
    found = history.messages
    assert (found[0].sequence, found[0].draft.role) == (1, "system")
    assert sequences(history)[1:] == list(range(5_002 - len(found), 5_001))
    # A window of bytes, one message more, and the first ones.
    assert store.read < 60
    assert store.open == 0


async def test_what_is_read_is_more_than_the_window_takes() -> None:
    store = Store(talk(100))
    history = history_of(store, 1_000)
    await history.read(100)
    said = to_prompt("m", history.messages).utterances
    assert sum(map(utterance_tokens, said)) > 1_000


async def test_what_is_never_sent_is_bounded_too() -> None:
    store = Store([message(n, "user", "x", tool_results=[{"a": "y" * 900}]) for n in range(1, 50)])
    history = history_of(store, 1_000)
    await history.read(49)
    assert len(history.messages) == 10


async def test_many_short_messages_begin_at_the_same_place_for_many_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_MESSAGES", 1_200)
    store = Store(talk(3_000, "x"))
    begins = []
    for up_to in range(2_000, 3_000, 2):
        history = history_of(store, 1_000_000)
        await history.read(up_to)
        begins.append(sequences(history)[0])
        assert sequences(history) == list(range(begins[-1], up_to + 1))
    assert set(begins) == {1_001, 1_501, 2_001}


async def test_more_than_fits_since_the_first_reading_leaves_no_gap() -> None:
    store = Store(talk(100))
    history = history_of(store, 1_000)
    await history.read(5)
    await history.read(100)
    found = sequences(history)
    assert found == list(range(found[0], 101))
    assert found[0] > 80


async def test_the_fitted_prompt_is_that_of_the_whole_session() -> None:
    told = [message(1, "user", "Hi")]
    for n in range(2, 1_200, 4):
        told += [
            message(n, "assistant", tool_calls=[call(f"c{n}")]),
            message(n + 1, "user", tool_results=results(f"c{n}")),
            message(n + 2, "assistant", f"{n} done"),
            message(n + 3, "user", "More"),
        ]
    history = history_of(Store(told), 4_000)
    await history.read(told[-1].sequence)
    assert len(history.messages) < 500
    part, whole = (fit(to_prompt("m", each), 4_000, 100) for each in (history.messages, told))
    assert part.prompt == whole.prompt
    assert part.start > 0
