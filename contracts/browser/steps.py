"""Batches of steps: what a browser is told to do, and what came of it.

A step names its page, or means the last one that was worked with. Selectors are Playwright's
(https://playwright.dev/docs/other-locators), and `aria-ref=<ref>` for an element of an `aria`
snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Base64Bytes, Field

from contracts.base import WireInt, WireModel, is_none

MAX_STEPS = 50
MAX_TIMEOUT_MS = 120_000
DEFAULT_TIMEOUT_MS = 30_000
MAX_URL_LENGTH = 8_192
MAX_SELECTOR_LENGTH = 4_096
MAX_TEXT_LENGTH = 100_000
MAX_EXPRESSION_LENGTH = 100_000
MAX_UPLOAD_FILES = 5
MAX_UPLOAD_BYTES = 1_000_000
MAX_COOKIES = 100
MAX_ARIA_CHARACTERS = 200_000

PAGE_ID_PATTERN = r"^p[1-9][0-9]{0,5}$"

_ABSENT = Field(exclude_if=is_none)

PageId = Annotated[str, Field(pattern=PAGE_ID_PATTERN, examples=["p1"])]
Url = Annotated[
    str,
    Field(
        max_length=MAX_URL_LENGTH,
        pattern=r"^([hH][tT][tT][pP][sS]?://[^\s]+|about:blank)$",
        examples=["https://example.com/"],
        description="http, https or about:blank.",
    ),
]
Selector = Annotated[
    str, Field(min_length=1, max_length=MAX_SELECTOR_LENGTH, examples=["button[type=submit]"])
]
TimeoutMs = Annotated[WireInt, Field(ge=1, le=MAX_TIMEOUT_MS)]
WaitUntil = Literal["load", "domcontentloaded", "networkidle", "commit"]


class Step(WireModel):
    """What every step may say."""

    page_id: Annotated[PageId | None, _ABSENT] = None
    timeout_ms: TimeoutMs = DEFAULT_TIMEOUT_MS


class NavigateStep(Step):
    """Opens a URL in the page; without a page, in a new one."""

    action: Literal["navigate"] = "navigate"
    url: Url
    wait_until: WaitUntil = "load"


class HistoryStep(Step):
    """Goes back or forward, or loads the page again."""

    action: Literal["back", "forward", "reload"]
    wait_until: WaitUntil = "load"


class OpenPageStep(Step):
    """Opens a page more."""

    action: Literal["open_page"] = "open_page"
    url: Annotated[Url | None, _ABSENT] = None
    wait_until: WaitUntil = "load"


class ClosePageStep(Step):
    """Closes the page."""

    action: Literal["close_page"] = "close_page"


class PointStep(Step):
    """Does something with an element, and nothing else."""

    action: Literal["check", "uncheck", "hover"]
    selector: Selector


class ClickStep(Step):
    """Clicks on an element."""

    action: Literal["click"] = "click"
    selector: Selector
    button: Literal["left", "right", "middle"] = "left"
    click_count: Annotated[WireInt, Field(ge=1, le=3)] = 1


class TypeStep(Step):
    """Types a text into an element, key by key, behind what is there."""

    action: Literal["type"] = "type"
    selector: Selector
    text: Annotated[str, Field(max_length=MAX_TEXT_LENGTH)]
    delay_ms: Annotated[WireInt, Field(ge=0, le=1_000)] = 0


class FillStep(Step):
    """Puts a text into an element in place of what is there."""

    action: Literal["fill"] = "fill"
    selector: Selector
    text: Annotated[str, Field(max_length=MAX_TEXT_LENGTH)]


class PressStep(Step):
    """Presses a key or a combination such as `Control+A`."""

    action: Literal["press"] = "press"
    selector: Annotated[Selector | None, _ABSENT] = None
    key: Annotated[str, Field(min_length=1, max_length=64)]


class SelectStep(Step):
    """Chooses options of a select element by value or label."""

    action: Literal["select"] = "select"
    selector: Selector
    values: Annotated[
        list[Annotated[str, Field(max_length=1_000)]], Field(min_length=1, max_length=100)
    ]


class ScrollStep(Step):
    """Scrolls an element into view, or the page by pixels."""

    action: Literal["scroll"] = "scroll"
    selector: Annotated[Selector | None, _ABSENT] = None
    x: Annotated[WireInt, Field(ge=-1_000_000, le=1_000_000)] = 0
    y: Annotated[WireInt, Field(ge=-1_000_000, le=1_000_000)] = 0


class WaitStep(Step):
    """Waits for an element's state, for a URL that matches a glob, or for a load state."""

    action: Literal["wait"] = "wait"
    selector: Annotated[Selector | None, _ABSENT] = None
    state: Literal["visible", "hidden", "attached", "detached"] = "visible"
    url_pattern: Annotated[str | None, Field(max_length=1_000, exclude_if=is_none)] = None
    load_state: Annotated[Literal["load", "domcontentloaded", "networkidle"] | None, _ABSENT] = None


class EvaluateStep(Step):
    """Evaluates JavaScript in the page; the result is JSON."""

    action: Literal["evaluate"] = "evaluate"
    expression: Annotated[str, Field(min_length=1, max_length=MAX_EXPRESSION_LENGTH)]
    await_promise: bool = True


class ScreenshotStep(Step):
    """A picture of the window, of the whole page, or of an element."""

    action: Literal["screenshot"] = "screenshot"
    selector: Annotated[Selector | None, _ABSENT] = None
    full_page: bool = False
    format: Literal["png", "jpeg"] = "png"
    quality: Annotated[WireInt | None, Field(ge=1, le=100, exclude_if=is_none)] = None
    inline: Annotated[bool, Field(description="The bytes in the answer, if they fit.")] = True


class PdfStep(Step):
    """The page as PDF."""

    action: Literal["pdf"] = "pdf"
    format: Literal["A3", "A4", "A5", "Legal", "Letter", "Tabloid"] = "A4"
    landscape: bool = False
    print_background: bool = True
    inline: Annotated[bool, Field(description="The bytes in the answer, if they fit.")] = True


class ContentStep(Step):
    """The page's HTML as it is now, or its text, or Markdown made of it."""

    action: Literal["content"] = "content"
    format: Literal["html", "text", "markdown"] = "html"


class TextStep(Step):
    """The text of an element."""

    action: Literal["text"] = "text"
    selector: Selector = "body"


class AriaStep(Step):
    """An accessibility snapshot, whose refs are selectors of later steps: `aria-ref=e12`."""

    action: Literal["aria"] = "aria"
    max_characters: Annotated[WireInt, Field(ge=100, le=MAX_ARIA_CHARACTERS)] = 20_000


class LinksStep(Step):
    """The page's links, absolute, each once."""

    action: Literal["links"] = "links"


class UploadFile(WireModel):
    """A file for an input element."""

    name: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^/\\\x00]+$")]
    media_type: Annotated[str, Field(max_length=255)] = "application/octet-stream"
    content: Annotated[Base64Bytes, Field(max_length=MAX_UPLOAD_BYTES, description="Base64.")]


class UploadStep(Step):
    """Puts files into an input element."""

    action: Literal["upload"] = "upload"
    selector: Selector
    files: Annotated[list[UploadFile], Field(min_length=1, max_length=MAX_UPLOAD_FILES)]


class DownloadStep(Step):
    """Clicks on an element that begins a download, and keeps the file."""

    action: Literal["download"] = "download"
    selector: Selector
    inline: Annotated[bool, Field(description="The bytes in the answer, if they fit.")] = False


class Cookie(WireModel):
    """A cookie (RFC 6265); `expires` is in seconds since 1970, absent for one of the session."""

    name: Annotated[str, Field(min_length=1, max_length=4_096)]
    value: Annotated[str, Field(max_length=4_096)]
    domain: Annotated[str, Field(min_length=1, max_length=253)]
    path: Annotated[str, Field(max_length=1_024)] = "/"
    expires: Annotated[float | None, _ABSENT] = None
    http_only: bool = False
    secure: bool = False
    same_site: Literal["Strict", "Lax", "None"] = "Lax"


class CookiesStep(Step):
    """The session's cookies; before that it clears them if asked, and sets some."""

    action: Literal["cookies"] = "cookies"
    clear: bool = False
    set: list[Cookie] = Field(default_factory=list, max_length=MAX_COOKIES)


AnyStep = Annotated[
    NavigateStep
    | HistoryStep
    | OpenPageStep
    | ClosePageStep
    | PointStep
    | ClickStep
    | TypeStep
    | FillStep
    | PressStep
    | SelectStep
    | ScrollStep
    | WaitStep
    | EvaluateStep
    | ScreenshotStep
    | PdfStep
    | ContentStep
    | TextStep
    | AriaStep
    | LinksStep
    | UploadStep
    | DownloadStep
    | CookiesStep,
    Field(discriminator="action"),
]

Continuity = Literal["live", "rehydrated", "lost"]


class StepBatch(WireModel):
    """Steps in their order. One that fails ends the batch, unless `on_error` is `continue`.

    `require: live` refuses the batch (409) where the browser is no longer the session's own, in
    place of going on in a restored one. `dialogs` is what alerts, confirmations and prompts are
    answered with.
    """

    steps: Annotated[list[AnyStep], Field(min_length=1, max_length=MAX_STEPS)]
    on_error: Literal["stop", "continue"] = "stop"
    require: Annotated[Literal["live"] | None, _ABSENT] = None
    dialogs: Literal["dismiss", "accept"] = "dismiss"


Outcome = Literal["done", "failed", "unknown", "skipped"]

ErrorCode = Literal[
    "browser_crashed",
    "denied_address",
    "element_not_ready",
    "evaluation_failed",
    "invalid_selector",
    "navigation_failed",
    "navigation_timeout",
    "no_download",
    "no_such_element",
    "no_such_page",
    "out_of_time",
    "page_crashed",
    "result_not_json",
    "result_too_large",
    "several_elements",
    "step_failed",
    "wait_timeout",
]


class StepError(WireModel):
    """Why a step failed, or why nobody knows: a code to act on, and what the browser said."""

    code: ErrorCode
    message: Annotated[str, Field(max_length=1_000)]


class Dialog(WireModel):
    """A dialog that a page opened, and how it was answered."""

    type: str
    message: str
    accepted: bool


class Artifact(WireModel):
    """A file that a step made. `data` is its bytes in base64 where they were asked for and fit;
    `url` reads it for an hour at most, and `GET /sessions/{sid}/artifacts` gives new ones.
    """

    name: str
    media_type: str
    size: WireInt
    data: Annotated[str | None, _ABSENT] = None
    url: Annotated[str | None, _ABSENT] = None
    truncated: Annotated[
        bool, Field(description="A page that is too long ends where pictures do.")
    ] = False


class StepResult(WireModel):
    """What came of one step.

    `unknown`: it was begun, and nobody knows how it ended; `skipped`: it was not begun. `value`
    depends on the action.
    """

    index: WireInt
    action: str
    outcome: Outcome
    page_id: Annotated[PageId | None, _ABSENT] = None
    url: Annotated[str | None, _ABSENT] = None
    title: Annotated[str | None, _ABSENT] = None
    value: Annotated[Any, _ABSENT] = None
    artifact: Annotated[Artifact | None, _ABSENT] = None
    error: Annotated[StepError | None, _ABSENT] = None
    duration_ms: WireInt = 0
    retried: Annotated[
        bool, Field(description="The browser crashed, and the step was done again.")
    ] = False
    console_errors: list[str] = Field(default_factory=list)
    dialogs: list[Dialog] = Field(default_factory=list)


class Page(WireModel):
    """An open page."""

    page_id: PageId
    url: str
    title: str


class DeniedAddress(WireModel):
    """An address that the egress wall kept the browser from."""

    host: str
    port: WireInt
    rule: str
    times: WireInt


class BatchResult(WireModel):
    """What came of a batch. `lost` says what could not be restored where it is not `live`."""

    session_id: str
    continuity: Continuity
    lost: list[str]
    results: list[StepResult]
    pages: list[Page]
    denied: list[DeniedAddress]


def failed(results: Sequence[StepResult]) -> StepResult | None:
    """The first step that was not done, if there is one."""
    return next((one for one in results if one.outcome != "done"), None)
