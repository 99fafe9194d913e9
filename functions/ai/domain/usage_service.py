"""Reports of what was used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from functions.ai.domain.audit import Action, Operations, Subject
from functions.ai.domain.money_errors import UsageTooLargeError
from functions.ai.domain.money_ports import UsageStore
from functions.ai.domain.usage import (
    Aggregate,
    Group,
    GroupBy,
    Tally,
    UsageFilter,
    grouped,
    total,
)
from servicekit.paging import InvalidCursorError, decode_cursor, encode_cursor

MAX_AGGREGATES = 20_000
"""Sums of a user, project, model and day that one report reads."""


@dataclass(frozen=True, slots=True)
class UsageReport:
    """One page of groups, and the sum of all pages."""

    groups: Sequence[Group]
    total: Tally
    next_cursor: str | None


class UsageService:
    """Sums up usage."""

    def __init__(self, store: UsageStore, operations: Operations) -> None:
        self._store = store
        self._operations = operations

    async def report(
        self, wanted: UsageFilter, by: Sequence[GroupBy], limit: int, cursor: str | None
    ) -> UsageReport:
        """The sums of each group, in order. Recorded before it is read.

        Raises `UsageTooLargeError`, `InvalidCursorError` and `AuditUnavailableError`.
        """
        query = f"usage {wanted} {sorted(by)}"
        after = _position(decode_cursor(cursor, query)) if cursor else None
        aggregates = await self._operations.allow_with(
            Action.READ_USAGE,
            Subject.usage(wanted.project_id, wanted.user_id),
            self._read(wanted),
            {"from": wanted.first.isoformat(), "to": wanted.last.isoformat()},
        )
        groups = grouped(aggregates, by)
        rest = [group for group in groups if after is None or group.position > after]
        page = rest[:limit]
        next_cursor = None
        if len(rest) > limit:
            next_cursor = encode_cursor(json.dumps(page[-1].position), query)
        return UsageReport(page, total(aggregates), next_cursor)

    async def _read(self, wanted: UsageFilter) -> list[Aggregate]:
        found: list[Aggregate] = []
        async for aggregate in self._store.aggregates(wanted):
            found.append(aggregate)
            if len(found) > MAX_AGGREGATES:
                raise UsageTooLargeError("Ask for fewer days, or for one user or project.")
        return found


def _position(text: str) -> tuple[str, int, int, str, str]:
    try:
        day, project, user, provider, model = json.loads(text)
        return str(day), int(project), int(user), str(provider), str(model)
    except (ValueError, TypeError):
        raise InvalidCursorError from None
