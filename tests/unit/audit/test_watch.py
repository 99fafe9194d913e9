"""What happens to stored records is told; what TTL removes is not."""

import base64
import logging

import pytest

from functions.audit.domain.watch import Change, Watcher
from functions.audit.routes.stream import changed

pytestmark = pytest.mark.anyio


class Figures:
    def __init__(self, failure: Exception | None = None) -> None:
        self.put_values: list[dict[str, float]] = []
        self.failure = failure

    async def put(self, values):
        if self.failure:
            raise self.failure
        self.put_values.append(dict(values))


def _image(record: bytes | None) -> dict:
    return {"record": {"B": base64.b64encode(record).decode()}} if record is not None else {}


def _change(kind: str, event_id: str, **more) -> dict:
    images = {name: _image(more.pop(name)) for name in ("OldImage", "NewImage") if name in more}
    keys = {"pk": {"S": f"EVENT#{event_id}"}, "sk": {"S": "EVENT"}}
    return {"eventName": kind, "dynamodb": {"Keys": keys, **images}, **more}


TTL = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (
            _change("MODIFY", "e1", OldImage=b"{}", NewImage=b"[]"),
            [Change("overwritten", "e1", altered=True)],
        ),
        (
            _change("MODIFY", "e1", OldImage=b"{}", NewImage=b"{}"),
            [Change("overwritten", "e1", altered=False)],
        ),
        (
            _change("MODIFY", "e1", OldImage=b"{}", NewImage=None),
            [Change("overwritten", "e1", altered=True)],
        ),
        (
            _change("REMOVE", "a#b", OldImage=b"{}"),
            [Change("removed", "a#b", altered=True)],
        ),
        (
            _change("REMOVE", "e1", OldImage=b"{}", userIdentity=None),
            [Change("removed", "e1", altered=True)],
        ),
        (
            _change("REMOVE", "e1", OldImage=b"{}", userIdentity={**TTL, "principalId": "someone"}),
            [Change("removed", "e1", altered=True)],
        ),
        (_change("REMOVE", "e1", OldImage=b"{}", userIdentity=TTL), []),
        (_change("INSERT", "e1", NewImage=b"{}"), []),
    ],
)
def test_changes_of_the_stream(change, seen):
    assert changed({"Records": [change]}) == seen


async def test_changes_raise_metrics_and_name_the_events_but_no_content(caplog):
    figures = Figures()
    with caplog.at_level(logging.ERROR):
        await Watcher(figures).report(
            [
                Change("overwritten", "e1", altered=True),
                Change("overwritten", "e2", altered=False),
                Change("removed", "e3", altered=True),
            ]
        )
    assert figures.put_values == [{"RecordsOverwritten": 2.0, "RecordsRemoved": 1.0}]
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert (line.overwritten, line.altered, line.removed) == (["e1", "e2"], ["e1"], ["e3"])


async def test_nothing_happened_says_nothing(caplog):
    figures = Figures()
    await Watcher(figures).report([])
    assert figures.put_values == []
    assert caplog.records == []


async def test_a_metric_that_is_lost_fails_the_batch_after_the_ids_are_told(caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(OSError):
        await Watcher(Figures(OSError())).report([Change("removed", "e1", altered=True)])
    assert caplog.records
