"""Money of the AI service: budgets in a rush, costs beside recorded answers, the catalogue."""

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench.emulator import client, create_table, ministack
from bench.figure import Figure
from functions.ai.adapters.dynamodb_budgets import DynamoBudgets
from functions.ai.adapters.dynamodb_usage import DynamoUsage
from functions.ai.domain.budget_guard import BudgetGuard
from functions.ai.domain.budgets import Budget, Scope, Spender
from functions.ai.domain.catalogue import Catalogue
from functions.ai.domain.inference import Usage
from functions.ai.domain.money_errors import BudgetExhaustedError
from functions.ai.domain.pricing import to_pico
from servicekit.clock import utc_now
from servicekit.dynamodb import DynamoTable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CALLS = 50
ROOM = 10
_PRICE = Decimal("0.01")
_ROUNDS = 5
_TABLE = "money"
_RECORDED = Path(__file__).resolve().parent.parent / "tests/fixtures/provider_usage.json"
_DEFAULT_MODEL = "amazon.nova-lite-v1:0"


def measure() -> Iterator[Figure]:
    """Calls admitted beyond a budget, and dollars beside what providers bill."""
    yield Figure("catalogue: CPU to load it", _loading() * 1000, "ms", 10)
    yield Figure("cost error on recorded answers", _cost_error(), "USD", 0)
    with ministack() as endpoint:
        create_table(client("dynamodb", endpoint), _TABLE, 2)
        make = cast("Callable[[], DynamoDBClient]", lambda: client("dynamodb", endpoint))
        table = DynamoTable(_TABLE, make)
        admitted = asyncio.run(_rush(table))
        table.close()
    yield Figure(f"{CALLS} calls at once, a budget for {ROOM}: overrun", admitted - ROOM, "", 0)
    yield Figure(
        f"{CALLS} calls at once, a budget for {ROOM}: refused wrongly", ROOM - admitted, "", 0
    )


async def _rush(table: DynamoTable) -> float:
    """How many are admitted, the most (or fewest) of all rounds."""
    budgets, usage = DynamoBudgets(table), DynamoUsage(table)
    counts: list[int] = []
    for project_id in range(1, _ROUNDS + 1):
        now = utc_now()
        scope = Scope(project_id, None)
        await budgets.save(Budget(scope, to_pico(_PRICE * ROOM), None, now, now))
        answers = await asyncio.gather(
            *(
                # Each as a process of its own.
                BudgetGuard(budgets, usage, utc_now).reserve(
                    Spender(f"{project_id}-{n}", 1, project_id, n), _PRICE
                )
                for n in range(1, CALLS + 1)
            ),
            return_exceptions=True,
        )
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, BudgetExhaustedError):
                raise answer
        counts.append(sum(not isinstance(answer, BaseException) for answer in answers))
    return max(counts, key=lambda count: abs(count - ROOM))


def _cost_error() -> float:
    catalogue = Catalogue(_DEFAULT_MODEL, [])
    records: list[dict[str, Any]] = json.loads(_RECORDED.read_text(encoding="utf-8"))
    errors = []
    for record in records:
        usage = Usage(**{"input": 0, "output": 0, **record["usage"]})
        at = datetime.fromisoformat(record["at"]).astimezone(UTC)
        cost = catalogue.find(record["provider"], record["model"]).cost(usage, at)
        errors.append(abs((cost or Decimal(0)) - Decimal(record["cost"])))
    return float(max(errors))


def _loading() -> float:
    taken = []
    for _ in range(_ROUNDS):
        started = time.process_time()
        Catalogue(_DEFAULT_MODEL, [])
        taken.append(time.process_time() - started)
    return statistics.median(taken)
