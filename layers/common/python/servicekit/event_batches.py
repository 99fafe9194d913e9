"""Batches of events in a request's body: each event is taken or refused by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ValidationError

from servicekit import strict_json
from servicekit.errors import AppError, InvalidRequestError
from servicekit.problems import to_app_error
from servicekit.strict_json import Document

_EVENTS = "events"
_ITEM_PATH_LENGTH = 2

EventT = TypeVar("EventT")
OutcomeT = TypeVar("OutcomeT")


class Envelope(Protocol):
    """A contract's batch whose events are not looked at yet."""

    @property
    def events(self) -> list[Any]:
        """As they came."""


@dataclass(frozen=True, slots=True)
class EventBatch(Generic[EventT]):
    """The events that may be taken and what is wrong with the others, by their place."""

    events: Mapping[int, EventT]
    refused: Mapping[int, AppError]

    def outcomes(self, taken: Sequence[OutcomeT]) -> list[OutcomeT | AppError]:
        """What became of each, in the order of the body; `taken` has one for each of `events`."""
        found: dict[int, OutcomeT | AppError] = {
            **self.refused,
            **dict(zip(self.events, taken, strict=True)),
        }
        return [found[index] for index in range(len(found))]


def read_batch(
    body: bytes,
    max_event_depth: int,
    envelope: Callable[[Any], Envelope],
    event: Callable[[Any, int], EventT],
) -> EventBatch[EventT]:
    """The events of `{"events": [...]}`; `event` makes one of an item and its place, or raises
    `ValidationError`.

    Raises `MalformedRequestError`, and `InvalidRequestError` or `ValidationError` for what is wrong
    outside the events.
    """
    document = strict_json.parse(body, max_event_depth + _ITEM_PATH_LENGTH)
    refused = _refused_items(document)
    events: dict[int, EventT] = {}
    for index, item in enumerate(envelope(document.content).events):
        if index in refused:
            continue
        try:
            events[index] = event(item, index)
        except ValidationError as error:
            refused[index] = to_app_error(error)
    return EventBatch(events, refused)


def _refused_items(document: Document) -> dict[int, AppError]:
    by_item: dict[int, list[dict[str, str]]] = {}
    outside = []
    for flaw in document.flaws:
        match flaw.path:
            case [str(name), int(index), *_] if name == _EVENTS:
                by_item.setdefault(index, []).append(flaw.below(_ITEM_PATH_LENGTH))
            case _:
                outside.append(flaw.below(0))
    if outside:
        raise InvalidRequestError(errors=outside)
    return {index: InvalidRequestError(errors=errors) for index, errors in by_item.items()}
