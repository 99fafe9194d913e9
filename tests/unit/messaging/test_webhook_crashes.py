"""The process is killed at every call of every port, before it and after it; nothing is lost."""

import pytest

from functions.messaging.domain.webhook_order import KeyBlockedError
from functions.messaging.domain.webhook_ports import Answered
from tests.fakes.messaging_webhooks import Holder, SetClock, Stores, Webhooks, memory_stores

pytestmark = pytest.mark.anyio

PORTS = ("subscriptions", "deliveries", "endpoints", "events", "log", "cursors", "life")


class KilledError(BaseException):
    """The process is no more."""


class Killer:
    """Counts calls, and kills at one of them."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.at = -1
        self.after = False
        self.armed = False

    def around(self, port):
        return _Watched(port, self)


class _Watched:
    def __init__(self, port, killer) -> None:
        self._port = port
        self._killer = killer

    def __getattr__(self, name):
        found = getattr(self._port, name)
        if not callable(found):
            return found

        async def call(*arguments, **named):
            killer = self._killer
            if not killer.armed:
                return await found(*arguments, **named)
            this = len(killer.calls)
            killer.calls.append(name)
            if this == killer.at and not killer.after:
                raise KilledError
            result = await found(*arguments, **named)
            if this == killer.at:
                raise KilledError
            return result

        return call


def killable(killer: Killer) -> Webhooks:
    clock = SetClock()
    first = Webhooks(clock=clock)
    stores = memory_stores(clock, first.records)
    watched = Stores(
        **{name: killer.around(getattr(stores, name)) for name in PORTS}, put=stores.put
    )
    hooks = Webhooks(watched, clock)
    for owner, name in ((hooks.queue, "send"), (hooks.queue, "send_ordered")):
        setattr(owner, name, getattr(killer.around(_Bound(owner, name)), name))
    hooks.endpoints.post = killer.around(_Bound(hooks.endpoints, "post")).post
    hooks.letters.add = killer.around(_Bound(hooks.letters, "add")).add
    return hooks


class _Bound:
    def __init__(self, owner, name) -> None:
        setattr(self, name, getattr(owner, name))


async def survived(call) -> bool:
    try:
        await call
    except KilledError:
        return False
    return True


async def lived_through(hooks: Webhooks, envelopes) -> None:
    """Whatever a killed process leaves comes again: the event, the queues' messages, the sweep."""
    for envelope in envelopes:
        if not await survived(hooks.fanout.offer(envelope, None)):
            await hooks.fanout.offer(envelope, None)
    for _ in range(30):
        for message in hooks.take():
            hooks.clock.forward(message.delay_seconds)
            if not await survived(hooks.worker.work(message.key)):
                hooks.queue.plain.append(message)
        taken, hooks.queue.ordered = hooks.queue.ordered, []
        for message in taken:
            try:
                if not await survived(hooks.ordered.work(message, Holder())):
                    hooks.queue.ordered.append(message)
            except KeyBlockedError:
                hooks.queue.ordered.append(message)
        hooks.clock.forward(120)
        await survived(hooks.sweep.sweep())


async def killed_at(at: int, *, after: bool, ordered: bool, script):
    killer = Killer()
    hooks = killable(killer)
    subscription = await hooks.subscribe(ordered=ordered)
    envelopes = [await hooks.event(ordering_key="k" if ordered else None) for _ in range(2)]
    hooks.endpoints.script = list(script)
    killer.at, killer.after, killer.armed = at, after, True
    await lived_through(hooks, envelopes)
    killer.armed = False
    states = [await hooks.state(envelope, subscription) for envelope in envelopes]
    return hooks, killer, states, [envelope.id for envelope in envelopes]


WORKS = [Answered(3, 500, "status_500"), Answered(3, 204)]


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("after", [False, True])
async def test_nothing_is_lost_and_a_request_is_repeated_only_where_it_was_not_recorded(
    ordered, after
):
    _, untouched, *_ = await killed_at(-1, after=after, ordered=ordered, script=WORKS)
    interesting = untouched.calls.index("due") + 40
    assert {"post", "record", "lease", "create", "take", "release"} <= set(untouched.calls)
    for at in range(min(interesting, len(untouched.calls))):
        hooks, killer, states, ids = await killed_at(at, after=after, ordered=ordered, script=WORKS)
        told = (at, killer.calls[at])
        assert [state.state for state in states] == ["delivered", "delivered"], told
        requests = hooks.endpoints.ids
        first_of_each = sorted(set(requests), key=requests.index)
        if ordered:
            assert first_of_each == ids, told
        unrecorded = len(requests) - sum(state.attempts for state in states)
        # Between the request and its record, nobody can tell.
        between = {("post", True), ("append", False), ("append", True), ("record", False)}
        assert unrecorded == ((killer.calls[at], after) in between), told
        assert len(requests) in {3, 4}, told
        assert hooks.letters.letters == {}, told


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("after", [False, True])
async def test_what_is_given_up_reaches_the_dead_letters_whatever_happens(ordered, after):
    gone = [Answered(3, 410, "status_410")]
    _, untouched, *_ = await killed_at(-1, after=after, ordered=ordered, script=gone)
    for at in range(min(60, len(untouched.calls))):
        hooks, killer, states, ids = await killed_at(at, after=after, ordered=ordered, script=gone)
        told = (at, killer.calls[at])
        assert [state.state for state in states] == ["dead", "dead"], told
        assert {event_id for event_id, _ in hooks.letters.letters} == set(ids), told
        (kept,) = hooks.stores.subscriptions.stored.values()
        assert kept.disabled is not None, told
        assert kept.announced, told
        assert len({event.event_id for event in hooks.announced}) == 1, told
