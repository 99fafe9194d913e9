"""Circuits by themselves: what opens them, what closes them, and for how long."""

import random

import pytest

from functions.ai.domain.breaker import (
    CLOSED,
    FAILURES,
    KEPT_SECONDS,
    MAX_PAUSE_SECONDS,
    PAUSE_SECONDS,
    PROBE_SECONDS,
    WINDOW_SECONDS,
    Circuit,
)
from functions.ai.domain.retries import FIRST_CONTENT_SECONDS

NOW = 1_795_000_000


def failing(times, circuit=CLOSED, at=NOW):
    for _ in range(times):
        circuit = circuit.failed(at, probe=False)
    return circuit


def test_so_many_failures_within_the_window_open_it():
    almost = failing(FAILURES - 1)
    assert almost.phase(NOW) == "closed"
    last = NOW + WINDOW_SECONDS - 1
    opened = almost.failed(last, probe=False)
    assert opened.phase(last) == "open"
    assert opened.phase(last + PAUSE_SECONDS - 1) == "open"
    assert opened.phase(last + PAUSE_SECONDS) == "due"


def test_failures_of_an_older_window_do_not_count():
    later = NOW + WINDOW_SECONDS
    circuit = failing(FAILURES - 1).failed(later, probe=False)
    assert (circuit.failures, circuit.since) == (1, later)
    assert circuit.phase(later) == "closed"


def test_calls_that_began_before_it_opened_change_nothing():
    opened = failing(FAILURES)
    assert opened.failed(NOW + 1, probe=False) is opened


def test_a_probe_keeps_the_others_out_until_it_must_have_ended():
    due = NOW + PAUSE_SECONDS
    probed = failing(FAILURES).probed(due)
    assert probed.phase(due) == "open"
    assert probed.phase(due + PROBE_SECONDS) == "due"
    assert PROBE_SECONDS > FIRST_CONTENT_SECONDS


def test_a_probe_that_succeeds_closes_it_and_forgets_the_failures():
    closed = failing(FAILURES).probed(NOW + PAUSE_SECONDS).succeeded()
    assert closed.phase(NOW + PAUSE_SECONDS) == "closed"
    assert (closed.failures, closed.openings) == (0, 0)
    assert closed.succeeded() is closed
    assert failing(FAILURES - 1, closed).phase(NOW) == "closed"


def test_each_probe_that_fails_doubles_the_pause_up_to_a_limit():
    circuit, now, pauses = failing(FAILURES), NOW, []
    for _ in range(6):
        pauses.append(circuit.retry_at - now)
        now = circuit.retry_at
        circuit = circuit.probed(now).failed(now, probe=True)
    assert pauses == [PAUSE_SECONDS * n for n in (1, 2, 4, 8)] + [MAX_PAUSE_SECONDS] * 2


def test_it_is_kept_for_longer_than_it_means_anything():
    assert failing(1).forgotten_at == NOW + WINDOW_SECONDS + KEPT_SECONDS
    circuit = failing(FAILURES)
    assert circuit.forgotten_at >= circuit.retry_at + KEPT_SECONDS


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens(seed):
    """A random life: each change has a new version, and only a probe ends an opening."""
    chance = random.Random(seed)
    circuit, now = CLOSED, NOW
    for _ in range(500):
        now += chance.choice((0, 1, 7, 45, 400))
        phase = circuit.phase(now)
        step = chance.choice(("fail", "succeed", "probe"))
        if step == "fail":
            probe = phase == "due"
            after = circuit.failed(now, probe=probe)
            assert after.phase(now) in ({"open"} if probe else {phase, "open"})
        elif step == "succeed":
            after = circuit.succeeded()
            assert after.phase(now) == "closed"
        elif phase == "due":
            after = circuit.probed(now)
            assert (after.phase(now), after.openings) == ("open", circuit.openings)
        else:
            continue
        assert after is circuit or after.version == circuit.version + 1
        assert after.failures < FAILURES
        assert after.retry_at <= now + max(MAX_PAUSE_SECONDS, PROBE_SECONDS) or after is circuit
        circuit = after


def test_a_circuit_that_nobody_knows_is_closed():
    assert Circuit() == CLOSED
    assert CLOSED.phase(NOW) == "closed"
