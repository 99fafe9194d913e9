"""The keys of the AI service's table: nothing else builds them.

| item        | pk                | sk              | gsi1pk       | gsi2pk    | gsi1sk, gsi2sk |
| ----------- | ----------------- | --------------- | ------------ | --------- | -------------- |
| session     | SESSION#<id>      | SESSION         | PROJECT#<id> | USER#<id> | <created>#<id> |
| message     | SESSION#<id>      | MESSAGE#<place> |              |           |                |
| its summary | SESSION#<id>      | SUMMARY         |              |           |                |
| turn        | TURN#<id>         | TURN            |              |           |                |
| its events  | TURN#<id>         | EVENT#<last>    |              |           |                |
| idempotency | IDEMPOTENCY#<key> | IDEMPOTENCY     |              |           |                |
| counter     | COUNTER#<name>    | COUNTER         |              |           |                |
| audit       | AUDITSEQ#<shard>  | AUDITSEQ        | (see `servicekit.audit_outbox`)           |
|             | AUDITOUT#<shard>  | <sequence>      |                                           |
| charge      | CHARGE#<turn>     | <attempt>#<call> | (see `dynamodb_usage`)                    |
| usage       | USAGE#PROJECT#<id>| <day>#<user>#<provider>#<model>                             |
|             | USAGE#USER#<id>   | <day>#<project>#<provider>#<model>                          |
| budget      | BUDGET#<scope>    | BUDGET          | (see `dynamodb_budgets`)                  |
| its counters| BUDGET#<scope>    | COUNTER#<kind>#<period>                                     |
| its holds   | BUDGET#<scope>    | HOLD#<expiry>#<turn>#<attempt>                              |
| routing     | ROUTING#<project> | ROUTING         | (see `dynamodb_routing`)                  |
| circuit     | CIRCUIT#<provider>#<model> | CIRCUIT | (see `dynamodb_breaker`)                |
| probe       | PROBE             | PROBE           | (never written: /ready reads it)          |

In gsi3 stands what has to be looked after some day; but for the keys it holds `session_id` alone.

| item    | gsi3pk      | gsi3sk            |                                                    |
| ------- | ----------- | ----------------- | -------------------------------------------------- |
| session | USE#<shard> | <last use>#<id>   | by the day alone, so that a write to the index is  |
|         |             |                   | made once a day and not with each message; `0`     |
|         |             |                   | for a day where its deletion has begun             |
| job     | QUEUED      | <since>#<turn>    | as long as its turn waits in a queue               |
"""

from __future__ import annotations

from datetime import date
from zlib import crc32

from servicekit.dynamodb import Key

PROBE: Key = {"pk": "PROBE", "sk": "PROBE"}

_SESSION = "SESSION"
TURN_SK = "TURN"
QUEUED_PK = "QUEUED"
_PLACE_DIGITS = 10
_LAST_PLACE = 10**_PLACE_DIGITS - 1
# In the first second of a day all sessions of the world may be used; a partition takes a thousand.
_USE_SHARDS = 8
_DELETED = "0"


def session_pk(session_id: str) -> str:
    """The partition of a session and its messages."""
    return f"SESSION#{session_id}"


def session_key(session_id: str) -> Key:
    """A session's own item."""
    return {"pk": session_pk(session_id), "sk": _SESSION}


def message_sk(sequence: int) -> str:
    """A message's place; places sort as their numbers do."""
    return f"MESSAGE#{sequence:0{_PLACE_DIGITS}}"


def message_range(after: int, up_to: int | None) -> tuple[str, str]:
    """The first and the last key of the messages above `after`, up to `up_to`."""
    first = min(after + 1, _LAST_PLACE)
    return message_sk(first), message_sk(_LAST_PLACE if up_to is None else up_to)


def summary_key(session_id: str) -> Key:
    """What tells of a session's oldest messages."""
    return {"pk": session_pk(session_id), "sk": "SUMMARY"}


def turn_pk(turn_id: str) -> str:
    """The partition of a turn and its events."""
    return f"TURN#{turn_id}"


def turn_key(turn_id: str) -> Key:
    """A turn's own item."""
    return {"pk": turn_pk(turn_id), "sk": TURN_SK}


def event_sk(last: int) -> str:
    """The place of events that come together, by the sequence of the last one."""
    return f"EVENT#{last:0{_PLACE_DIGITS}}"


def event_range(after: int) -> tuple[str, str]:
    """The first and the last key of what holds events behind `after`."""
    return event_sk(min(after + 1, _LAST_PLACE)), event_sk(_LAST_PLACE)


def project_pk(project_id: int) -> str:
    """A project's sessions in gsi1."""
    return f"PROJECT#{project_id}"


def user_pk(user_id: int) -> str:
    """A user's sessions in gsi2."""
    return f"USER#{user_id}"


def listing_sk(created_at: str, session_id: str) -> str:
    """A session's place in both indexes."""
    return f"{created_at}#{session_id}"


def use_pk(session_id: str) -> str:
    """The partition of gsi3 that a session is in."""
    return f"USE#{crc32(session_id.encode()) % _USE_SHARDS}"


def use_pks() -> list[str]:
    """All of them."""
    return [f"USE#{shard}" for shard in range(_USE_SHARDS)]


def use_sk(day: date | None, session_id: str) -> str:
    """A session's place there by its last use; None where its deletion has begun."""
    return f"{day.isoformat() if day else _DELETED}#{session_id}"


def before_use(day: date | None) -> str:
    """Above the places of sessions that were used before the day, or whose deletion has begun; for
    None, above those of the latter alone.
    """
    return day.isoformat() if day else "1"


def queued_sk(since: str, turn_id: str) -> str:
    """A waiting job's place in the partition `QUEUED` of gsi3, by the time since when it waits;
    without an id, below the places of that time.
    """
    return f"{since}#{turn_id}"


def id_of_listing(sk: str) -> str:
    """The session's or turn's id in a key of an index; empty if it is none."""
    return sk.partition("#")[2]


def charge_key(turn_id: str, attempt: int, call: int) -> Key:
    """What an attempt to answer a turn was charged for one of its calls."""
    return {"pk": f"CHARGE#{turn_id}", "sk": f"{attempt:0{_PLACE_DIGITS}}#{call}"}


def project_usage_pk(project_id: int) -> str:
    """What was used in a project."""
    return f"USAGE#PROJECT#{project_id}"


def user_usage_pk(user_id: int) -> str:
    """What a user used."""
    return f"USAGE#USER#{user_id}"


def usage_sk(day: date, other_id: int, provider: str, model: str) -> str:
    """A sum's place by its day; `other_id` is the user in a project, the project of a user."""
    return f"{day.isoformat()}#{other_id}#{provider}#{model}"


def usage_range(first: date, last: date) -> tuple[str, str]:
    """The first and the last key of the sums of these days."""
    return first.isoformat(), f"{last.isoformat()}$"


def budget_pk(scope: str) -> str:
    """The partition of a budget, its counters and its holds."""
    return f"BUDGET#{scope}"


def budget_key(scope: str) -> Key:
    """A budget's own item."""
    return {"pk": budget_pk(scope), "sk": "BUDGET"}


def counter_key(scope: str, kind: str, period: str) -> Key:
    """The counter of one day or month."""
    return {"pk": budget_pk(scope), "sk": f"COUNTER#{kind}#{period}"}


def hold_key(scope: str, expires_at: int, turn_id: str, attempt: int) -> Key:
    """What an attempt holds; holds sort by the second in which they expire."""
    return {
        "pk": budget_pk(scope),
        "sk": f"HOLD#{expires_at:0{_PLACE_DIGITS}}#{turn_id}#{attempt}",
    }


def expired_holds(now: int) -> tuple[str, str]:
    """The first and the last key of the holds that expired before `now`."""
    return "HOLD#", f"HOLD#{now:0{_PLACE_DIGITS}}"


def routing_key(project_id: int) -> Key:
    """A project's routing policy."""
    return {"pk": f"ROUTING#{project_id}", "sk": "ROUTING"}


def circuit_key(provider: str, model: str) -> Key:
    """What is known of the last calls to a model."""
    return {"pk": f"CIRCUIT#{provider}#{model}", "sk": "CIRCUIT"}
