"""What chats cost, and what they may cost, through the deployed cloud."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

from tests.e2e.conftest import problem

PROJECT = 4_711


def chat(ai, user_id: int, message: str = "Hi [[input=100 output=50]]"):
    body = {"message": message, "project_id": PROJECT, "user_id": user_id, "stream": False}
    return ai.post("/api/v1/chat", json=body | {"max_output_tokens": 100})


def test_the_usage_is_the_sum_of_the_answers(ai):
    answers = [chat(ai, 61) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    costs = [Decimal(answer.json()["message"]["cost"]) for answer in answers]
    today = datetime.now(UTC).date().isoformat()
    usage = ai.get("/api/v1/usage", params={"user_id": 61, "from": today, "to": today}).json()
    assert Decimal(usage["total"]["cost"]) == sum(costs)
    assert usage["total"]["calls"] == 3
    assert usage["total"]["input_tokens"] == 300


def test_a_budget_is_not_overrun_by_calls_at_once(ai):
    made = ai.put("/api/v1/budgets/user-62", json={"daily_limit": "0.0001"})
    assert made.status_code == 200, made.text
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: chat(ai, 62), range(12)))
    refused = [answer for answer in answers if answer.status_code == 402]
    assert refused
    assert problem(refused[0], 402, "budget_exhausted")["budget"]
    assert {answer.status_code for answer in answers} == {200, 402}
    budget = ai.get("/api/v1/budgets/user-62").json()
    (day,) = [period for period in budget["periods"] if period["period"] == "day"]
    spent = sum(
        Decimal(answer.json()["message"]["cost"]) for answer in answers if answer.is_success
    )
    assert Decimal(day["spent"]) == spent <= Decimal("0.0001")
    assert Decimal(day["reserved"]) == 0


def test_all_that_is_kept_of_a_user_can_be_had(ai):
    assert chat(ai, 63).status_code == 200
    answer = ai.get("/api/v1/users/63/export")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    lines = answer.text.splitlines()
    assert '"type":"end"' in lines[-1]
    assert len(lines) == 5
