"""Who may count as whom: a sequence that somebody else could report would hide what was lost."""

from __future__ import annotations

import re

_ROLE = re.compile(r"arn:[^:]+:(?:sts::\d*:assumed-role|iam::\d*:role)/(?:.*/)?([^/]+)")
_SERVICE_ROLE = re.compile(r"santaclaude-[^-]+-([^-]+)-.+")
_BUS = "events:"


def owner_of(reported_by: str) -> str | None:
    """What the producers of a reporter begin with; None if it may not count.

    A role `santaclaude-<env>-<service>-<function>` counts for its service, any other role for
    itself by its name, and what came over the bus for its source.
    """
    if reported_by.startswith(_BUS):
        return reported_by.removeprefix(_BUS)
    role = _ROLE.fullmatch(reported_by)
    if role is None:
        return None
    service = _SERVICE_ROLE.fullmatch(role[1])
    return role[1] if service is None else service[1]


def may_count(producer: str | None, reported_by: str) -> bool:
    """Whether a reporter may send sequences of a producer: `<owner>`, or `<owner>:<shard>`."""
    return producer is not None and producer.partition(":")[0] == owner_of(reported_by)
