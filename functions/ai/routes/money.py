"""The calls about usage and budgets."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Query, Request

from contracts.ai import money as contract
from contracts.base import MAX_ID
from functions.ai.domain.budgets import Scope
from functions.ai.domain.usage import GroupBy, UsageFilter
from functions.ai.routes import money_wire
from functions.ai.routes.parameters import ApiDep, Cursor, Limit, OptionalId, require_whose, signed
from servicekit.errors import InvalidRequestError
from servicekit.paging import DEFAULT_LIMIT
from servicekit.problems import read_json
from servicekit.responses import WireResponse

OptionalDate = Annotated[date | None, Query()]
OptionalFrom = Annotated[date | None, Query(alias="from")]
Groups = Annotated[str, Query(pattern=contract.GROUP_BY_PATTERN)]

routes = APIRouter(dependencies=[Depends(signed)])


def _scope(scope: str) -> Scope:
    known = Scope.parse(scope)
    ids = (known.project_id, known.user_id) if known else (0,)
    if known is None or any(number > MAX_ID for number in ids if number is not None):
        message = "It is project-<id>, user-<id> or project-<id>-user-<id>."
        raise InvalidRequestError(errors=[{"field": "scope", "message": message}])
    return known


ScopeDep = Annotated[Scope, Depends(_scope)]


@routes.get("/api/v1/usage")
async def get_usage(
    api: ApiDep,
    project_id: OptionalId = None,
    user_id: OptionalId = None,
    first: OptionalFrom = None,
    to: OptionalDate = None,
    group_by: Groups = "day,model",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> WireResponse:
    """What a project, a user, or a user in a project used."""
    require_whose(project_id, user_id)
    wanted = UsageFilter(project_id, user_id, *_days(first, to, api.clock()))
    by = cast("list[GroupBy]", list(dict.fromkeys(group_by.split(","))))
    report = await api.usage.report(wanted, by, limit, cursor)
    return WireResponse(money_wire.usage_report(wanted, report))


@routes.get("/api/v1/budgets/{scope}")
async def get_budget(api: ApiDep, scope: ScopeDep) -> WireResponse:
    """A budget and what is left of it."""
    return WireResponse(money_wire.budget(await api.budgets.get(scope)))


@routes.put("/api/v1/budgets/{scope}")
async def set_budget(request: Request, api: ApiDep, scope: ScopeDep) -> WireResponse:
    """Sets what may be spent."""
    body = await read_json(request, contract.BudgetSet)
    view = await api.budgets.put(scope, _limit(body.daily_limit), _limit(body.monthly_limit))
    return WireResponse(money_wire.budget(view))


@routes.delete("/api/v1/budgets/{scope}")
async def delete_budget(api: ApiDep, scope: ScopeDep) -> WireResponse:
    """Removes a budget."""
    await api.budgets.remove(scope)
    return WireResponse(contract.BudgetDeleted(message="Budget deleted"))


def _days(first: date | None, last: date | None, now: datetime) -> tuple[date, date]:
    end = last or now.date()
    begin = first or end.replace(day=1)
    days = (end - begin).days + 1
    if not 1 <= days <= contract.MAX_USAGE_DAYS:
        message = f"A report has 1 to {contract.MAX_USAGE_DAYS} days."
        raise InvalidRequestError(errors=[{"field": "from", "message": message}])
    return begin, end


def _limit(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
