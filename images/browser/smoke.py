"""Whether the image works: the handler, called as by Lambda, opens a page and takes a picture."""

import base64
import os
from typing import Any

os.environ |= {
    "ENVIRONMENT": "dev",
    "POWERTOOLS_SERVICE_NAME": "browser-pool-service-worker",
    "POWERTOOLS_LOG_LEVEL": "INFO",
}

from functions.browser_worker.entrypoints.run import handler

COMMAND: dict[str, Any] = {
    "session_id": "smoke",
    "epoch": 1,
    # Nobody is there: the checkpoint is not stored, and the answer says so.
    "store_to": "http://127.0.0.1:9/",
    "seconds": 30,
    "batch": {
        "steps": [
            {"action": "open_page"},
            {"action": "evaluate", "expression": "document.body.textContent = 'h\u00e9llo'"},
            {"action": "screenshot"},
        ]
    },
}


def main() -> None:
    """Raises `AssertionError` where a step was not done."""
    reply = handler(COMMAND, None)
    results = reply["result"]["results"]
    assert [one["outcome"] for one in results] == ["done"] * 3, results
    assert base64.b64decode(results[2]["artifact"]["data"]).startswith(b"\x89PNG")
    print(f"Chromium shows a page; {results[2]['artifact']['size']} bytes of it")


if __name__ == "__main__":
    main()
