"""Pauses before another try."""

import random

from servicekit.backoff import full_jitter


def test_the_bound_doubles_and_stays_at_the_longest_pause():
    bounds = [full_jitter(attempt, 0.5, 3.0, lambda: 1.0) for attempt in (0, 1, 2, 3, 10_000)]
    assert bounds == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert full_jitter(4, 0.1, random=lambda: 1.0) == 1.6
    assert full_jitter(10_000, 0.1, random=lambda: 1.0) > 1e15


def test_any_time_up_to_the_bound_is_as_likely_as_the_others():
    chance = random.Random(1)
    drawn = sorted(full_jitter(1, 0.5, random=chance.random) for _ in range(4_000))
    quarters = [drawn[1_000], drawn[2_000], drawn[3_000]]
    assert all(abs(found - n / 4) < 0.03 for n, found in enumerate(quarters, start=1))
    assert drawn[0] < 0.01
    assert 0.99 < drawn[-1] < 1


def test_pauses_are_drawn_anew_each_time():
    assert len({full_jitter(0, 1.0) for _ in range(100)}) == 100
