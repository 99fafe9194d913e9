"""The call that does a whole task."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from contracts.browser import sessions as contract
from contracts.browser.steps import StepBatch
from functions.browser.domain.sessions import NewSession
from functions.browser.routes.sessions import BUDGET, ApiDep, CallerDep
from functions.browser.routes.step_problems import problem_of
from servicekit.fastapi_app import signed_router
from servicekit.problems import read_json
from servicekit.responses import WireResponse

routes = signed_router()


@routes.post("/api/v1/tasks")
async def run_task(request: Request, api: ApiDep, caller: CallerDep) -> WireResponse:
    """Opens a page and tells what is wanted of it."""
    asked = await read_json(request, contract.TaskRequest)
    opening: list[dict[str, Any]] = [
        {
            "action": "navigate",
            "url": asked.url,
            "wait_until": asked.wait_until,
            "timeout_ms": asked.timeout_ms,
        }
    ]
    if asked.wait_for is not None:
        opening.append(
            {"action": "wait", "selector": asked.wait_for, "timeout_ms": asked.timeout_ms}
        )
    wanted = [output.model_dump(exclude={"page_id"}) for output in asked.outputs]
    batch = StepBatch.model_validate({"steps": [*opening, *wanted], "on_error": "continue"})
    new = NewSession(asked.user_id, asked.project_id, {})
    result = await api.tasks.run(caller, new, batch, BUDGET)
    for opened in result.results[: len(opening)]:
        if opened.outcome != "done":
            raise problem_of(opened)
    outputs = [
        one.model_copy(update={"index": index})
        for index, one in enumerate(result.results[len(opening) :])
    ]
    page, first = result.pages[-1], result.results[0]
    return WireResponse(
        contract.TaskResult(
            url=page.url,
            title=page.title,
            status=(first.value or {}).get("status"),
            results=outputs,
            denied=result.denied,
        )
    )
