"""Usage and budgets over HTTP, without a database."""

from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version

import pytest
from pydantic import ValidationError

from contracts.ai import money
from functions.ai.domain import usage_service
from functions.ai.domain.audit import Action
from functions.ai.domain.budget_guard import BudgetGuard
from functions.ai.domain.budgets import Budget, Counter, Period, Scope, Spender, periods_at
from functions.ai.domain.catalogue import Catalogue
from functions.ai.domain.inference import Usage
from functions.ai.domain.money_errors import BudgetExhaustedError
from functions.ai.domain.pricing import to_pico
from functions.ai.domain.usage import charge
from servicekit.audit import AuditUnavailableError
from tests.fakes.ai_app import AiService

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CATALOGUE = Catalogue("amazon.nova-lite-v1:0", ["llama3.2"])


@pytest.fixture
def service():
    return AiService()


def spend(service, number, *, project_id=7, user_id=3, day=22, model="gpt-4.1", usage=None):
    one = charge(
        CATALOGUE,
        CATALOGUE.find(None, model),
        usage or Usage(1_000, 100, cache_read=10),
        turn_id=f"t{number}",
        attempt=1,
        session_id="s",
        project_id=project_id,
        user_id=user_id,
        at=NOW.replace(day=day),
    )
    assert service.memory.money.finish(one, None)
    return one


async def usage(service, query):
    answer = await service.call("GET", f"/api/v1/usage?{query}")
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert money.UsageReport.model_validate(report).model_dump(mode="json") == report
    return report


async def test_usage_is_summed_by_day_and_model(service):
    spend(service, 1)
    spend(service, 2)
    spend(service, 3, day=21)
    spend(service, 4, model="llama3.2")
    spend(service, 5, day=1, user_id=4)
    report = await usage(service, "project_id=7")
    assert (report["first_day"], report["last_day"]) == ("2026-11-01", "2026-11-22")
    assert [(g["day"], g["provider"], g["model"], g["calls"]) for g in report["groups"]] == [
        ("2026-11-01", "openai", "gpt-4.1", 1),
        ("2026-11-21", "openai", "gpt-4.1", 1),
        ("2026-11-22", "bedrock", "llama3.2", 1),
        ("2026-11-22", "openai", "gpt-4.1", 2),
    ]
    assert {g["project_id"] for g in report["groups"]} == {None}
    # 1,000 at 2 dollars a million, 10 cached at 0.5, 100 at 8.
    assert [g["cost"] for g in report["groups"]] == ["0.002805", "0.002805", "0", "0.00561"]
    total = report["total"]
    assert (total["calls"], total["cost"], total["unpriced_calls"]) == (5, "0.01122", 1)
    assert total["total_tokens"] == 5 * 1_110
    for name, amount in total.items():
        if name != "cost":
            assert sum(g[name] for g in report["groups"]) == amount
    assert sum(Decimal(g["cost"]) for g in report["groups"]) == Decimal(total["cost"])


@pytest.mark.parametrize(
    ("query", "groups"),
    [
        ("user_id=3&group_by=project", [(7, None, 2), (8, None, 1)]),
        ("user_id=3&project_id=8&group_by=project", [(8, None, 1)]),
        ("project_id=7&group_by=user", [(None, 3, 2), (None, 4, 1)]),
        ("project_id=7&group_by=user,project,user", [(7, 3, 2), (7, 4, 1)]),
        ("project_id=9&group_by=user", []),
        ("project_id=7&group_by=user&from=2026-11-21&to=2026-11-21", [(None, 4, 1)]),
    ],
)
async def test_usage_of_whom_and_by_what(service, query, groups):
    spend(service, 1)
    spend(service, 2, model="claude-haiku-5-5")
    spend(service, 3, user_id=4, day=21)
    spend(service, 4, project_id=8)
    report = await usage(service, query)
    assert [(g["project_id"], g["user_id"], g["calls"]) for g in report["groups"]] == groups


async def test_usage_comes_in_pages_with_the_same_total(service):
    for user_id in range(1, 8):
        spend(service, user_id, user_id=user_id)
    query = "project_id=7&group_by=user&limit=3"
    found, cursor, totals = [], "", []
    while True:
        page = await usage(service, f"{query}{cursor}")
        found += [g["user_id"] for g in page["groups"]]
        totals.append(page["total"]["calls"])
        if not page["has_more"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert (found, totals) == ([1, 2, 3, 4, 5, 6, 7], [7, 7, 7])
    other = await service.call("GET", f"/api/v1/usage?project_id=8&group_by=user{cursor}")
    assert (other.status_code, other.json()["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "project_id"),
        ("user_id=0", "user_id"),
        ("user_id=3&group_by=colour", "group_by"),
        ("user_id=3&group_by=day,", "group_by"),
        ("user_id=3&from=yesterday", "from"),
        ("user_id=3&from=2026-11-23", "from"),
        ("user_id=3&from=2025-11-21&to=2026-11-22", "from"),
        ("user_id=3&limit=101", "limit"),
    ],
)
async def test_a_report_that_cannot_be_made_says_why(service, query, field):
    answer = await service.call("GET", f"/api/v1/usage?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["field"] == field
    assert service.memory.outbox.events == []


async def test_the_longest_report_is_of_366_days(service):
    report = await usage(service, "user_id=3&from=2025-11-22&to=2026-11-22")
    assert report["groups"] == []


async def test_more_usage_than_can_be_summed_is_refused(service, monkeypatch):
    monkeypatch.setattr(usage_service, "MAX_AGGREGATES", 2)
    for user_id in (1, 2):
        spend(service, user_id, user_id=user_id)
    await usage(service, "project_id=7")
    spend(service, 3, user_id=3)
    answer = await service.call("GET", "/api/v1/usage?project_id=7")
    assert (answer.status_code, answer.json()["code"]) == (413, "usage_too_large")


async def test_a_budget_is_set_read_and_removed(service):
    spend(service, 1)
    path = "/api/v1/budgets/project-7-user-3"
    body = {"daily_limit": "2.50", "monthly_limit": None}
    answer = await service.call("PUT", path, body)
    assert answer.status_code == 200, answer.text
    budget = answer.json()
    assert money.Budget.model_validate(budget).model_dump(mode="json") == budget
    assert (budget["daily_limit"], budget["monthly_limit"]) == ("2.5", None)
    day, month = budget["periods"]
    assert day == {
        "period": "day",
        "name": "2026-11-22",
        "limit": "2.5",
        "spent": "0.002805",
        "reserved": "0",
        "left": "2.497195",
        "renews_at": "2026-11-23T00:00:00Z",
    }
    assert (month["name"], month["limit"], month["left"]) == ("2026-11", None, None)
    guard = BudgetGuard(service.memory.money, service.memory.money, service.clock)
    await guard.reserve(Spender("t", 1, 7, 3), Decimal("0.5"))
    read = (await service.call("GET", path)).json()
    assert (read["periods"][0]["reserved"], read["periods"][0]["left"]) == ("0.5", "1.997195")
    changed = (await service.call("PUT", path, {"monthly_limit": "25"})).json()
    assert (changed["daily_limit"], changed["monthly_limit"]) == (None, "25")
    assert changed["created_at"] == budget["created_at"] < changed["updated_at"]
    assert (await service.call("DELETE", path)).json() == {"message": "Budget deleted"}
    for method in ("GET", "DELETE"):
        gone = await service.call(method, path)
        assert (gone.status_code, gone.json()["code"]) == (404, "budget_not_found")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"daily_limit": None},
        {"daily_limit": "-1"},
        {"daily_limit": "1e3"},
        {"daily_limit": "0.0000001"},
        {"daily_limit": "1234567890"},
        {"daily_limit": 5},
        {"monthly_limit": ""},
    ],
)
async def test_limits_that_are_none_are_refused(service, body):
    answer = await service.call("PUT", "/api/v1/budgets/user-3", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    with pytest.raises(ValidationError):
        money.BudgetSet.model_validate(body)


@pytest.mark.parametrize(
    "scope",
    [
        "7",
        "project-0",
        "project-07",
        "project-2147483648",
        "project-7-",
        "project-7user-3",
        "user-",
        "user-3 ",
        "user-3-project-7",
        "-user-3",
        "PROJECT-7",
        "user-٣",
    ],
)
async def test_a_scope_that_is_none_is_refused(service, scope):
    answer = await service.call("GET", f"/api/v1/budgets/{scope}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["field"] == "scope"
    assert Scope.parse(scope) is None or scope.endswith("2147483648")


@pytest.mark.parametrize(
    ("scope", "name"),
    [(Scope(7, None), "project-7"), (Scope(None, 3), "user-3"), (Scope(7, 3), "project-7-user-3")],
)
def test_a_scope_is_spelled_in_one_way(scope, name):
    assert scope.name == name
    assert Scope.parse(name) == scope


def test_periods_are_of_utc_and_end_where_the_next_begin():
    new_year = datetime.fromisoformat("2027-01-01T00:30:00+01:00")
    day, month = periods_at(new_year)
    assert (day.name, month.name) == ("2026-12-31", "2026-12")
    assert day.end == month.end == datetime(2027, 1, 1, tzinfo=UTC)
    february = Period("month", datetime(2028, 2, 1, tzinfo=UTC).date())
    assert february.last.day == 29


CALLS = [
    ("GET", "/api/v1/usage?project_id=7&user_id=3", None, Action.READ_USAGE, "ai/usage"),
    ("GET", "/api/v1/budgets/project-7-user-3", None, Action.READ_BUDGET, None),
    ("PUT", "/api/v1/budgets/project-7-user-3", {"daily_limit": "1"}, Action.SET_BUDGET, None),
    ("DELETE", "/api/v1/budgets/project-7-user-3", None, Action.DELETE_BUDGET, None),
]


@pytest.mark.parametrize(("method", "path", "body", "action", "resource"), CALLS)
async def test_every_call_leaves_one_record(service, method, path, body, action, resource):
    budgets = service.memory.money
    await service.call("PUT", "/api/v1/budgets/project-7-user-3", {"daily_limit": "5"})
    service.memory.outbox.events.clear()
    assert (await service.call(method, path, body)).status_code == 200
    (event,) = service.memory.outbox.events
    assert (event["action"], event["metadata"]["outcome"]) == (action, "allowed")
    assert event["resource"] == (resource or "ai/budgets/project-7-user-3")
    assert (event["user_id"], event["metadata"]["project_id"]) == (3, 7)
    if action is Action.SET_BUDGET:
        assert event["metadata"]["daily_limit"] == "1"
    before = dict(budgets.kept)
    service.memory.outbox.failure = AuditUnavailableError(retry_after=1)
    refused = await service.call(method, path, {"daily_limit": "9"} if body else None)
    assert (refused.status_code, refused.json()["code"]) == (503, "audit_unavailable")
    assert budgets.kept == before


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_budget_that_does_not_exist_is_recorded_as_denied(service, method):
    await service.call(method, "/api/v1/budgets/user-3")
    (event,) = service.memory.outbox.events
    assert event["metadata"]["outcome"] == "denied"
    assert event["metadata"]["reason"] == "budget_not_found"


async def test_nobody_without_a_name_sees_money(service):
    for method, path, body, _, _ in CALLS:
        answer = await service.call(method, path, body, context=None)
        assert answer.status_code == 401


def test_a_refusal_is_the_contracts_problem():
    error = BudgetExhaustedError.of(
        budget(daily_limit=to_pico(Decimal("2.5"))),
        periods_at(NOW)[0],
        Counter(to_pico(Decimal("2.38")), 0, NOW),
        to_pico(Decimal("0.25")),
    )
    problem = money.BudgetProblem.model_validate(error.to_problem("r-1"))
    assert (problem.status, problem.code) == (402, "budget_exhausted")
    assert problem.budget.left == "0.12"
    assert problem.budget.renews_at == datetime(2026, 11, 23, tzinfo=UTC)
    assert "2.5 USD" in (problem.detail or "")
    assert error.headers == {}


def budget(**limits):
    fields = {"daily_limit": None, "monthly_limit": None, **limits}
    return Budget(Scope(7, 3), created_at=NOW, updated_at=NOW, **fields)


def test_a_charge_is_priced_at_the_day_of_the_call_and_names_its_price_list():
    gemini = CATALOGUE.find(None, "gemini-3.8-flash")
    facts = {"turn_id": "t", "attempt": 1, "session_id": "s", "project_id": 7, "user_id": 3}
    old = charge(CATALOGUE, gemini, Usage(1_000_000, 0), at=NOW, **facts)
    new = charge(CATALOGUE, gemini, Usage(1_000_000, 0), at=NOW.replace(year=2027), **facts)
    assert (old.dollars, new.dollars) == (Decimal("0.75"), Decimal("1.5"))
    assert old.price_list == f"genai-prices {version('genai-prices')}"
    unknown = charge(CATALOGUE, CATALOGUE.find(None, "llama3.2"), Usage(1, 1), at=NOW, **facts)
    assert (unknown.cost, unknown.dollars, unknown.tally.unpriced_calls) == (None, None, 1)


@pytest.mark.parametrize("model", CATALOGUE.models, ids=lambda m: m.name)
def test_every_price_of_a_token_is_whole_pico_dollars(model):
    for n in (1, 272_001):
        cost = model.cost(Usage(n, 1, 1, 1, 1, 1), NOW)
        if cost is not None:
            assert Decimal(to_pico(cost)).scaleb(-12) == cost
