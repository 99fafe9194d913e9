"""The v1 calls about pages: each is a batch of one step."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from fastapi import Depends, Path, Request

from contracts.base import WireModel
from contracts.browser import sessions as contract
from contracts.browser.steps import (
    PAGE_ID_PATTERN,
    StepBatch,
    StepResult,
    failed,
)
from functions.browser.routes.sessions import (
    BUDGET,
    PATIENCE,
    ApiDep,
    CallerDep,
    SessionId,
)
from functions.browser.routes.step_problems import problem_of
from servicekit.fastapi_app import signed_router
from servicekit.problems import read_json
from servicekit.responses import WireResponse

routes = signed_router()

ModelT = TypeVar("ModelT", bound=WireModel)
PageId = Annotated[str, Path(pattern=PAGE_ID_PATTERN)]


class Call:
    """One call about a session's page."""

    def __init__(self, api: ApiDep, caller: CallerDep, session_id: SessionId) -> None:
        self._api = api
        self._caller = caller
        self.session_id = session_id

    async def done(self, step: dict[str, Any]) -> StepResult:
        """The step's result. Raises what `problem_of` makes of one that was not done."""
        batch = StepBatch.model_validate({"steps": [step]})
        answer = await self._api.dispatcher.run(
            self._caller, self.session_id, batch, budget=BUDGET, patience=PATIENCE
        )
        not_done = failed(answer.result.results)
        if not_done is not None:
            raise problem_of(not_done)
        return answer.result.results[0]


CallDep = Annotated[Call, Depends()]


async def _asked(request: Request, model: type[ModelT]) -> ModelT:
    """The body, which may be left out where nothing has to be said."""
    if not await request.body():
        return model()
    return await read_json(request, model)


@routes.post("/api/v1/sessions/{session_id}/pages")
async def create_page(request: Request, call: CallDep) -> WireResponse:
    """Opens a page."""
    asked = await _asked(request, contract.PageCreate)
    result = await call.done({"action": "open_page", "url": asked.url})
    return WireResponse(
        contract.PageCreated(page_id=result.page_id or "", session_id=call.session_id)
    )


@routes.get("/api/v1/sessions/{session_id}/pages/{page_id}")
async def get_page(call: CallDep, page_id: PageId) -> WireResponse:
    """Where a page is."""
    result = await call.done({"action": "wait", "page_id": page_id})
    return WireResponse(
        contract.PageInfo(
            page_id=page_id,
            url=result.url or "",
            title=result.title or "",
            session_id=call.session_id,
        )
    )


@routes.delete("/api/v1/sessions/{session_id}/pages/{page_id}")
async def delete_page(call: CallDep, page_id: PageId) -> WireResponse:
    """Closes a page."""
    await call.done({"action": "close_page", "page_id": page_id})
    return WireResponse(contract.Done(message="The page is closed"))


@routes.post("/api/v1/sessions/{session_id}/pages/{page_id}/navigate")
async def navigate(request: Request, call: CallDep, page_id: PageId) -> WireResponse:
    """Opens a URL in a page."""
    asked = await read_json(request, contract.Navigate)
    result = await call.done(
        {
            "action": "navigate",
            "page_id": page_id,
            "url": asked.url,
            "wait_until": asked.wait_until,
            "timeout_ms": asked.timeout,
        }
    )
    return WireResponse(
        contract.Navigated(
            message="The page is there", url=result.url or "", title=result.title or ""
        )
    )


@routes.post("/api/v1/sessions/{session_id}/pages/{page_id}/screenshot")
async def screenshot(request: Request, call: CallDep, page_id: PageId) -> WireResponse:
    """A picture of a page."""
    asked = await _asked(request, contract.ScreenshotRequest)
    result = await call.done({"action": "screenshot", "page_id": page_id, **asked.model_dump()})
    data, url = _file(result)
    return WireResponse(
        contract.Screenshot(screenshot=data, format=asked.format, page_id=page_id, url=url)
    )


@routes.post("/api/v1/sessions/{session_id}/pages/{page_id}/pdf")
async def pdf(request: Request, call: CallDep, page_id: PageId) -> WireResponse:
    """A page as PDF."""
    asked = await _asked(request, contract.PdfRequest)
    result = await call.done({"action": "pdf", "page_id": page_id, **asked.model_dump()})
    data, url = _file(result)
    return WireResponse(contract.Pdf(pdf=data, page_id=page_id, url=url))


@routes.post("/api/v1/sessions/{session_id}/pages/{page_id}/action")
async def act(request: Request, call: CallDep, page_id: PageId) -> WireResponse:
    """Clicks, types or selects."""
    asked = await read_json(request, contract.ActionRequest)
    step: dict[str, Any] = {
        "action": asked.action,
        "page_id": page_id,
        "selector": asked.selector,
        "timeout_ms": asked.timeout,
    }
    if asked.action == "type":
        step["text"] = asked.value or ""
    elif asked.action == "select":
        step["values"] = [asked.value or ""]
    await call.done(step)
    return WireResponse(contract.Done(message=f"Done: {asked.action}"))


@routes.post("/api/v1/sessions/{session_id}/pages/{page_id}/evaluate")
async def evaluate(request: Request, call: CallDep, page_id: PageId) -> WireResponse:
    """Evaluates JavaScript."""
    asked = await read_json(request, contract.EvaluateRequest)
    result = await call.done({"action": "evaluate", "page_id": page_id, **asked.model_dump()})
    return WireResponse(contract.Evaluated(result=(result.value or {}).get("result")))


@routes.post("/api/v1/sessions/{session_id}/pages/{page_id}/wait")
async def wait(request: Request, call: CallDep, page_id: PageId) -> WireResponse:
    """Waits for an element or a URL."""
    asked = await read_json(request, contract.WaitRequest)
    await call.done(
        {
            "action": "wait",
            "page_id": page_id,
            "selector": asked.selector,
            "state": asked.state,
            "url_pattern": asked.url_pattern,
            "timeout_ms": asked.timeout,
        }
    )
    return WireResponse(contract.Done(message="It is there"))


@routes.post("/api/v1/sessions/{session_id}/pages/{page_id}/content")
async def content(request: Request, call: CallDep, page_id: PageId) -> WireResponse:
    """A page's HTML, text, or Markdown."""
    asked = await _asked(request, contract.ContentRequest)
    result = await call.done({"action": "content", "page_id": page_id, "format": asked.format})
    return WireResponse(
        contract.Content(content=result.value["content"], format=asked.format, page_id=page_id)
    )


@routes.post("/api/v1/sessions/{session_id}/pages/{page_id}/aria")
async def aria(request: Request, call: CallDep, page_id: PageId) -> WireResponse:
    """A page's accessibility snapshot."""
    asked = await _asked(request, contract.AriaRequest)
    result = await call.done(
        {"action": "aria", "page_id": page_id, "max_characters": asked.max_characters}
    )
    return WireResponse(contract.Aria(page_id=page_id, **result.value))


def _file(result: StepResult) -> tuple[str, str | None]:
    """Its bytes in base64, or a link where they are too many."""
    artifact = result.artifact
    if artifact is None:
        return "", None
    if artifact.data is not None:
        return artifact.data, None
    return "", artifact.url
