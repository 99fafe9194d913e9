"""Browser sessions on the wire: the v1 calls, each of one action, and what came to them since."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from contracts.base import (
    UtcDatetime,
    WireCount,
    WireId,
    WireInt,
    WireModel,
    is_none,
    json_size,
    too_large,
)
from contracts.browser.steps import (
    DEFAULT_TIMEOUT_MS,
    MAX_TEXT_LENGTH,
    AriaStep,
    ContentStep,
    Continuity,
    DeniedAddress,
    EvaluateStep,
    LinksStep,
    PageId,
    PdfStep,
    ScreenshotStep,
    Selector,
    StepResult,
    TextStep,
    TimeoutMs,
    Url,
    WaitUntil,
)

MAX_BODY_BYTES = 6_000_000
MAX_METADATA_BYTES = 16_384
MAX_OUTPUTS = 6
DEFAULT_ARTIFACTS, MAX_ARTIFACTS = 20, 100
MAX_CURSOR_LENGTH = 256
SYNCHRONOUS_SECONDS = 25
"""Of a batch whose caller waits: API Gateway answers for a function after 29 s
(https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html).
"""

_ABSENT = Field(exclude_if=is_none)


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if json_size(value) > MAX_METADATA_BYTES:
        raise too_large(MAX_METADATA_BYTES)
    return value


Metadata = Annotated[
    dict[str, Any],
    AfterValidator(_small),
    Field(description=f"Anything, of {MAX_METADATA_BYTES} bytes at most."),
]


class SessionCreate(WireModel):
    """Whose session it is to be."""

    user_id: WireId | None = None
    project_id: WireId | None = None
    metadata: Metadata = Field(default_factory=dict)


class TaskRequest(WireModel):
    """A page, and what is wanted of it: in a session of its own, which ends with the call."""

    url: Url
    outputs: Annotated[
        list[
            Annotated[
                ScreenshotStep | PdfStep | ContentStep | TextStep | AriaStep | LinksStep,
                Field(discriminator="action"),
            ]
        ],
        Field(min_length=1, max_length=MAX_OUTPUTS),
    ]
    wait_until: WaitUntil = "load"
    wait_for: Annotated[Selector | None, Field(description="An element to wait for.")] = None
    timeout_ms: TimeoutMs = DEFAULT_TIMEOUT_MS
    user_id: WireId | None = None
    project_id: WireId | None = None


class TaskResult(WireModel):
    """What came of it: a result for each output, in their order."""

    url: str
    title: str
    status: Annotated[WireInt | None, _ABSENT] = None
    results: list[StepResult]
    denied: list[DeniedAddress]


class BrowserSession(WireModel):
    """An open session. `continuity` is of its last batch; unused, it ends at `expires_at`."""

    session_id: str
    created_at: UtcDatetime
    last_activity: UtcDatetime
    expires_at: UtcDatetime
    page_count: WireCount
    metadata: dict[str, Any]
    continuity: Continuity
    user_id: Annotated[WireId | None, _ABSENT] = None
    project_id: Annotated[WireId | None, _ABSENT] = None


class Done(WireModel):
    """It is done."""

    message: str


class PageCreate(WireModel):
    """What to open in the page."""

    url: Url | None = None


class PageCreated(WireModel):
    """A page's id within its session."""

    page_id: PageId
    session_id: str


class PageInfo(WireModel):
    """An open page."""

    page_id: PageId
    url: str
    title: str
    session_id: str


class Navigate(WireModel):
    """Where to go."""

    url: Url
    wait_until: WaitUntil = "load"
    timeout: TimeoutMs = DEFAULT_TIMEOUT_MS


class Navigated(WireModel):
    """Where the page is now."""

    message: str
    url: str
    title: str


class ScreenshotRequest(WireModel):
    """Which picture."""

    full_page: bool = False
    format: Literal["png", "jpeg"] = "png"
    quality: Annotated[WireInt, Field(ge=1, le=100)] | None = None


class Screenshot(WireModel):
    """The picture in base64, or a link to one that is too large for an answer."""

    screenshot: str
    format: str
    page_id: PageId
    url: Annotated[str | None, _ABSENT] = None


class ActionRequest(WireModel):
    """What to do with an element; `value` is the text to type or the option to choose."""

    selector: Selector
    action: Literal["click", "type", "select"]
    value: Annotated[str, Field(max_length=MAX_TEXT_LENGTH)] | None = None
    timeout: TimeoutMs = DEFAULT_TIMEOUT_MS


class EvaluateRequest(WireModel):
    """An expression of JavaScript."""

    expression: Annotated[str, *EvaluateStep.model_fields["expression"].metadata]
    await_promise: bool = True


class Evaluated(WireModel):
    """Its value."""

    result: Any


class WaitRequest(WireModel):
    """What to wait for."""

    selector: Selector | None = None
    url_pattern: Annotated[str, Field(max_length=1_000)] | None = None
    timeout: TimeoutMs = DEFAULT_TIMEOUT_MS
    state: Literal["visible", "hidden", "attached", "detached"] = "visible"


class PdfRequest(WireModel):
    """Which paper."""

    format: Literal["A3", "A4", "A5", "Legal", "Letter", "Tabloid"] = "A4"
    landscape: bool = False
    print_background: bool = True


class Pdf(WireModel):
    """The file in base64, or a link to one that is too large for an answer."""

    pdf: str
    page_id: PageId
    url: Annotated[str | None, _ABSENT] = None


class ContentRequest(WireModel):
    """In which form."""

    format: Literal["html", "text", "markdown"] = "html"


class Content(WireModel):
    """What the page holds."""

    content: str
    format: str
    page_id: PageId


class AriaRequest(WireModel):
    """How much of it."""

    max_characters: Annotated[WireInt, Field(ge=100, le=200_000)] = 20_000


class Aria(WireModel):
    """An accessibility snapshot, whose refs are selectors: `aria-ref=e12`."""

    snapshot: str
    truncated: bool
    page_id: PageId


class StoredArtifact(WireModel):
    """A file that a step made, and a link that reads it for an hour at most."""

    name: str
    size: WireInt
    stored_at: UtcDatetime
    url: str


class ArtifactPage(WireModel):
    """Files of a session, in the order of their making."""

    artifacts: list[StoredArtifact]
    has_more: bool
    next_cursor: Annotated[
        str | None, Field(exclude_if=is_none, description="`cursor` of the next page.")
    ] = None


class Stats(WireModel):
    """How the pool stands: places of the whole pool, and the caller's own sessions."""

    total_browsers: WireInt
    active_sessions: WireInt
    available_slots: WireInt
    session_details: list[BrowserSession]
