"""Examples of the browser pool's contract: what the documents show, and tests validate."""

from __future__ import annotations

from typing import Any

SESSION_ID = "01KASM0T3ZJ8W6Q1XN5V7D2B4C"

SESSION_CREATE: dict[str, Any] = {"user_id": 3, "project_id": 7, "metadata": {"card": 12}}
SESSION: dict[str, Any] = {
    "session_id": SESSION_ID,
    "created_at": "2026-01-05T09:30:00Z",
    "last_activity": "2026-01-05T09:31:12Z",
    "expires_at": "2026-01-05T09:36:12Z",
    "page_count": 1,
    "metadata": {"card": 12},
    "continuity": "live",
    "user_id": 3,
    "project_id": 7,
}
CLOSED: dict[str, Any] = {"message": "The session is closed"}
PAGE_CREATE: dict[str, Any] = {"url": "https://example.com/"}
PAGE_CREATED: dict[str, Any] = {"page_id": "p1", "session_id": SESSION_ID}
PAGE: dict[str, Any] = {
    "page_id": "p1",
    "url": "https://example.com/",
    "title": "Example Domain",
    "session_id": SESSION_ID,
}
PAGE_CLOSED: dict[str, Any] = {"message": "The page is closed"}
NAVIGATE: dict[str, Any] = {"url": "https://example.com/", "wait_until": "load", "timeout": 30000}
NAVIGATED: dict[str, Any] = {
    "message": "The page is there",
    "url": "https://example.com/",
    "title": "Example Domain",
}
SCREENSHOT_REQUEST: dict[str, Any] = {"full_page": True, "format": "jpeg", "quality": 80}
SCREENSHOT: dict[str, Any] = {"screenshot": "/9j/4AAQ", "format": "jpeg", "page_id": "p1"}
ACTION: dict[str, Any] = {
    "selector": "input[name=q]",
    "action": "type",
    "value": "hello",
    "timeout": 30000,
}
ACTED: dict[str, Any] = {"message": "Done: type"}
EVALUATE: dict[str, Any] = {"expression": "document.title", "await_promise": True}
EVALUATED: dict[str, Any] = {"result": "Example Domain"}
WAIT: dict[str, Any] = {"selector": "#done", "timeout": 5000, "state": "visible"}
WAITED: dict[str, Any] = {"message": "It is there"}
PDF_REQUEST: dict[str, Any] = {"format": "A4", "landscape": False, "print_background": True}
PDF: dict[str, Any] = {"pdf": "JVBERi0x", "page_id": "p1"}
CONTENT_REQUEST: dict[str, Any] = {"format": "markdown"}
CONTENT: dict[str, Any] = {
    "content": "# Example Domain",
    "format": "markdown",
    "page_id": "p1",
}
ARIA_REQUEST: dict[str, Any] = {"max_characters": 20000}
ARIA: dict[str, Any] = {
    "snapshot": '- heading "Example Domain" [level=1] [ref=e3]\n',
    "truncated": False,
    "page_id": "p1",
}

BATCH: dict[str, Any] = {
    "steps": [
        {"action": "navigate", "url": "https://example.com/login"},
        {"action": "fill", "selector": "#password", "text": "open sesame"},
        {"action": "click", "selector": "button[type=submit]"},
        {"action": "wait", "url_pattern": "**/account"},
        {"action": "screenshot", "inline": False},
    ],
    "on_error": "stop",
    "dialogs": "dismiss",
}
BATCH_RESULT: dict[str, Any] = {
    "session_id": SESSION_ID,
    "continuity": "live",
    "lost": [],
    "results": [
        {
            "index": 0,
            "action": "navigate",
            "outcome": "done",
            "page_id": "p1",
            "url": "https://example.com/login",
            "title": "Log in",
            "value": {"status": 200},
            "duration_ms": 212,
            "retried": False,
            "console_errors": [],
            "dialogs": [],
        },
        {
            "index": 1,
            "action": "fill",
            "outcome": "failed",
            "error": {
                "code": "no_such_element",
                "message": "No element matches the selector.",
            },
            "duration_ms": 30007,
            "retried": False,
            "console_errors": [],
            "dialogs": [],
        },
        {
            "index": 2,
            "action": "click",
            "outcome": "skipped",
            "duration_ms": 0,
            "retried": False,
            "console_errors": [],
            "dialogs": [],
        },
    ],
    "pages": [{"page_id": "p1", "url": "https://example.com/login", "title": "Log in"}],
    "denied": [{"host": "169.254.169.254", "port": 80, "rule": "address", "times": 2}],
}

TASK: dict[str, Any] = {
    "url": "https://example.com/",
    "outputs": [{"action": "content", "format": "markdown"}, {"action": "links"}],
}
TASK_RESULT: dict[str, Any] = {
    "url": "https://example.com/",
    "title": "Example Domain",
    "status": 200,
    "results": [
        {
            "index": 0,
            "action": "content",
            "outcome": "done",
            "page_id": "p1",
            "url": "https://example.com/",
            "title": "Example Domain",
            "value": {"content": "# Example Domain", "format": "markdown"},
            "duration_ms": 31,
            "retried": False,
            "console_errors": [],
            "dialogs": [],
        }
    ],
    "denied": [],
}

ARTIFACTS: dict[str, Any] = {
    "artifacts": [
        {
            "name": "000001-04-screenshot",
            "size": 48211,
            "stored_at": "2026-01-05T09:31:12Z",
            "url": "https://example-bucket.s3.amazonaws.com/sessions/files/000001-04-screenshot",
        }
    ],
    "has_more": False,
}
STATS: dict[str, Any] = {
    "total_browsers": 20,
    "active_sessions": 1,
    "available_slots": 19,
    "session_details": [SESSION],
}
