"""Lambda handler of the browser pool's calls: a FastAPI app behind a REST API."""

from __future__ import annotations

from mangum import Mangum

from functions.browser.bootstrap.api import api_from_environment
from functions.browser.routes.apps import create_app
from servicekit.errors import PROBLEM_MEDIA_TYPE

app = create_app(api_from_environment())
handler = Mangum(
    app, lifespan="off", text_mime_types=["application/json", PROBLEM_MEDIA_TYPE, "text/"]
)
