"""The loss check, small: `python -m bench messaging_loss` runs it at full size, where the processes
that consume and deliver are killed as well, whose leases take minutes to end.
"""

import asyncio
from random import Random

from bench.messaging_loss import PUBLISHING, check
from tests.fakes.processes import kill_a_worker

COUNT = 150


def test_what_was_accepted_arrives_and_has_one_effect(cloud):
    random = Random(2)

    def kill() -> bool:
        return kill_a_worker(PUBLISHING, cloud.state, random)

    done = check(
        cloud.door("MESSAGING"),
        cloud.aws,
        kill,
        COUNT,
        random,
        batch=10,
        kill_every=40,
        patience_seconds=200,
    )
    found = asyncio.run(done)
    assert len(found.accepted) == COUNT
    assert found.lost_at_the_webhook == frozenset()
    assert found.lost_on_record == frozenset()
    assert found.lost_at_the_consumer == frozenset()
    assert found.doubled_at_the_consumer == frozenset()
    # Otherwise nothing was proved.
    assert found.kills > 1
    assert found.refused_by_the_webhook > 0
