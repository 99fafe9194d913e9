"""The operations of the browser pool v1: the source of its OpenAPI document and of its routes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from contracts.browser import examples, sessions
from contracts.browser.steps import MAX_STEPS, PAGE_ID_PATTERN, BatchResult, StepBatch
from contracts.health_operations import health_operations
from contracts.operation import Answer, Contract, Operation, Parameter

# 400: malformed JSON, cursor or header. 403, 429 and 504 come from the gateway as well.
_ANY = (400, 401, 403, 429, 500, 503, 504)
# Another command is in flight, or the live browser is gone; and whatever the site is to blame for.
_WORKING = (404, 409, 422, 502)
_BODY = (413, 415)

_SESSION_ID = Parameter(
    name="session_id",
    schema={"type": "string", "minLength": 1, "maxLength": 64},
    description="The session's id.",
    required=True,
)
_PAGE_ID = Parameter(
    name="page_id",
    schema={"type": "string", "pattern": PAGE_ID_PATTERN},
    description="The page's id within its session.",
    required=True,
)
_SESSIONS = "/api/v1/sessions"
_SESSION = f"{_SESSIONS}/{{session_id}}"
_PAGES = f"{_SESSION}/pages"
_PAGE = f"{_PAGES}/{{page_id}}"


def _errors(*groups: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({status for group in groups for status in group}))


def _of_page(
    name: str,
    summary: str,
    body: type[BaseModel],
    body_example: dict[str, Any],
    answer: type[BaseModel],
    example: dict[str, Any],
) -> Operation:
    """A call that is one step of a page's."""
    return Operation(
        operation_id="act" if name == "action" else name,
        method="post",
        path=f"{_PAGE}/{name}",
        summary=summary,
        tag="pages",
        path_parameters=(_SESSION_ID, _PAGE_ID),
        body=body,
        body_example=body_example,
        answer=Answer(model=answer, description="It is done.", example=example),
        errors=_errors(_ANY, _WORKING, _BODY),
    )


_HEALTH = health_operations("browser-pool-service", check="sessions")

_OF_SESSIONS = (
    Operation(
        operation_id="create_session",
        method="post",
        path=_SESSIONS,
        summary="Open a session",
        tag="sessions",
        description=(
            "A session is a place in the pool and a state that is kept; its browser starts with "
            "the first batch. 429 names whose limit is reached, and `Retry-After`."
        ),
        body=sessions.SessionCreate,
        body_example=examples.SESSION_CREATE,
        answer=Answer(
            model=sessions.BrowserSession, description="The session.", example=examples.SESSION
        ),
        errors=_errors(_ANY, _BODY, (404, 409, 422)),
        idempotent_by_key=True,
    ),
    Operation(
        operation_id="list_sessions",
        method="get",
        path=_SESSIONS,
        summary="The caller's open sessions, oldest first",
        tag="sessions",
        answer=Answer(
            model=sessions.BrowserSession,
            description="All of them.",
            example=[examples.SESSION],
            is_list=True,
        ),
        errors=_ANY,
    ),
    Operation(
        operation_id="get_session",
        method="get",
        path=_SESSION,
        summary="Read a session",
        tag="sessions",
        path_parameters=(_SESSION_ID,),
        answer=Answer(
            model=sessions.BrowserSession, description="The session.", example=examples.SESSION
        ),
        errors=_errors(_ANY, (404,)),
    ),
    Operation(
        operation_id="delete_session",
        method="delete",
        path=_SESSION,
        summary="End a session",
        tag="sessions",
        path_parameters=(_SESSION_ID,),
        answer=Answer(model=sessions.Done, description="It is ended.", example=examples.CLOSED),
        errors=_errors(_ANY, (404,)),
    ),
    Operation(
        operation_id="run_steps",
        method="post",
        path=f"{_SESSION}/steps",
        summary="Do a batch of steps",
        tag="steps",
        description=(
            f"Up to {MAX_STEPS} steps within {sessions.SYNCHRONOUS_SECONDS} s. The answer is a 200 "
            "whenever the batch was begun: each result says whether its step was done, failed, was "
            "not begun, or whether nobody knows. `continuity` says whether the browser was live, "
            "was restored from what is kept, or is lost, and `lost` what was not restored. While "
            "another batch of the session is in flight it waits a moment, then it is a 409."
        ),
        path_parameters=(_SESSION_ID,),
        body=StepBatch,
        body_example=examples.BATCH,
        answer=Answer(
            model=BatchResult, description="A result per step.", example=examples.BATCH_RESULT
        ),
        errors=_errors(_ANY, (404, 409, 422), _BODY),
    ),
    Operation(
        operation_id="run_task",
        method="post",
        path="/api/v1/tasks",
        summary="Pictures, PDF, content or links of a page in one call",
        tag="tasks",
        description=(
            "Opens the page in a session of its own, which ends with the call and takes a place "
            f"meanwhile. Everything within {sessions.SYNCHRONOUS_SECONDS} s. A page that is not "
            "reached is a problem of the call's; an output that is not to be had is in its result."
        ),
        body=sessions.TaskRequest,
        body_example=examples.TASK,
        answer=Answer(
            model=sessions.TaskResult, description="The outputs.", example=examples.TASK_RESULT
        ),
        errors=_errors(_ANY, _WORKING, _BODY),
    ),
    Operation(
        operation_id="list_artifacts",
        method="get",
        path=f"{_SESSION}/artifacts",
        summary="Files that steps made, with new links",
        tag="sessions",
        path_parameters=(_SESSION_ID,),
        query=(
            Parameter(
                name="limit",
                schema={
                    "type": "integer",
                    "minimum": 1,
                    "maximum": sessions.MAX_ARTIFACTS,
                    "default": sessions.DEFAULT_ARTIFACTS,
                },
                description="Most items of the page.",
            ),
            Parameter(
                name="cursor",
                schema={
                    "type": "string",
                    "minLength": 1,
                    "maxLength": sessions.MAX_CURSOR_LENGTH,
                },
                description="`next_cursor` of the page before.",
            ),
        ),
        answer=Answer(
            model=sessions.ArtifactPage, description="One page.", example=examples.ARTIFACTS
        ),
        errors=_errors(_ANY, (404, 422)),
    ),
    Operation(
        operation_id="get_stats",
        method="get",
        path="/api/v1/stats",
        summary="How the pool stands, with the caller's sessions",
        tag="sessions",
        answer=Answer(model=sessions.Stats, description="The figures.", example=examples.STATS),
        errors=_ANY,
    ),
)

_OF_PAGES = (
    Operation(
        operation_id="create_page",
        method="post",
        path=_PAGES,
        summary="Open a page",
        tag="pages",
        path_parameters=(_SESSION_ID,),
        body=sessions.PageCreate,
        body_example=examples.PAGE_CREATE,
        answer=Answer(
            model=sessions.PageCreated, description="Its id.", example=examples.PAGE_CREATED
        ),
        errors=_errors(_ANY, _WORKING, _BODY),
    ),
    Operation(
        operation_id="get_page",
        method="get",
        path=_PAGE,
        summary="Where a page is",
        tag="pages",
        path_parameters=(_SESSION_ID, _PAGE_ID),
        answer=Answer(model=sessions.PageInfo, description="The page.", example=examples.PAGE),
        errors=_errors(_ANY, _WORKING),
    ),
    Operation(
        operation_id="delete_page",
        method="delete",
        path=_PAGE,
        summary="Close a page",
        tag="pages",
        path_parameters=(_SESSION_ID, _PAGE_ID),
        answer=Answer(
            model=sessions.Done, description="It is closed.", example=examples.PAGE_CLOSED
        ),
        errors=_errors(_ANY, _WORKING),
    ),
    _of_page(
        "navigate",
        "Open a URL in a page",
        sessions.Navigate,
        examples.NAVIGATE,
        sessions.Navigated,
        examples.NAVIGATED,
    ),
    _of_page(
        "screenshot",
        "A picture of a page",
        sessions.ScreenshotRequest,
        examples.SCREENSHOT_REQUEST,
        sessions.Screenshot,
        examples.SCREENSHOT,
    ),
    _of_page(
        "pdf",
        "A page as PDF",
        sessions.PdfRequest,
        examples.PDF_REQUEST,
        sessions.Pdf,
        examples.PDF,
    ),
    _of_page(
        "action",
        "Click, type or select",
        sessions.ActionRequest,
        examples.ACTION,
        sessions.Done,
        examples.ACTED,
    ),
    _of_page(
        "evaluate",
        "Evaluate JavaScript in a page",
        sessions.EvaluateRequest,
        examples.EVALUATE,
        sessions.Evaluated,
        examples.EVALUATED,
    ),
    _of_page(
        "wait",
        "Wait for an element or a URL",
        sessions.WaitRequest,
        examples.WAIT,
        sessions.Done,
        examples.WAITED,
    ),
    _of_page(
        "content",
        "A page's HTML, text, or Markdown",
        sessions.ContentRequest,
        examples.CONTENT_REQUEST,
        sessions.Content,
        examples.CONTENT,
    ),
    _of_page(
        "aria",
        "A page's accessibility snapshot, with refs that are selectors",
        sessions.AriaRequest,
        examples.ARIA_REQUEST,
        sessions.Aria,
        examples.ARIA,
    ),
)

BROWSER_V1 = Contract(
    service="browser",
    version="v1",
    title="Browser pool",
    description=(
        "Stateful browsing on functions that scale to zero: sessions that are kept, batches of "
        "steps, and a wall around what pages may reach."
    ),
    local_url="http://localhost:8002",
    operations=(*_HEALTH, *_OF_SESSIONS, *_OF_PAGES),
)
