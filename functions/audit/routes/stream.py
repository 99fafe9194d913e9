"""DynamoDB stream events of the record table, as Lambda gets them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from functions.audit.domain.archive import Insertion
from functions.audit.domain.watch import Change

_TTL = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
"""Who removes expired items
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-streams.html)."""

StreamEvent = Mapping[str, Any]


def inserted(event: StreamEvent) -> list[Insertion]:
    """What was stored, in the stream's order, with the canonical bytes of each record."""
    return [
        Insertion(str(data["Keys"]["pk"]["S"]), _record(data["NewImage"]))
        for change in event["Records"]
        if change["eventName"] == "INSERT"
        for data in (change["dynamodb"],)
    ]


def changed(event: StreamEvent) -> list[Change]:
    """What happened to stored records, but for what TTL removed."""
    return list(_changes(event))


def _changes(event: StreamEvent) -> Iterator[Change]:
    for change in event["Records"]:
        data = change["dynamodb"]
        event_id = _event_id(data["Keys"])
        match change["eventName"]:
            case "MODIFY":
                altered = _record(data["OldImage"]) != _record(data["NewImage"])
                yield Change("overwritten", event_id, altered)
            case "REMOVE" if not _by_ttl(change):
                yield Change("removed", event_id, altered=True)


def _by_ttl(change: Mapping[str, Any]) -> bool:
    identity = change.get("userIdentity") or {}
    return all(identity.get(name) == value for name, value in _TTL.items())


def _event_id(keys: Mapping[str, Any]) -> str:
    # Not from the image: what was put in the record's place may name any id.
    pk = str(keys["pk"]["S"])
    return pk.partition("#")[2] or pk


def _record(image: Mapping[str, Any]) -> bytes | None:
    encoded = image.get("record", {}).get("B")
    return None if encoded is None else base64.b64decode(encoded)
