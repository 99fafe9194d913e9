"""Lambda handler of the calls that read and administrate: a FastAPI app behind a REST API."""

from __future__ import annotations

from mangum import Mangum

from functions.messaging.bootstrap.control import control_from_environment
from functions.messaging.routes.apps import create_control_app
from servicekit.errors import PROBLEM_MEDIA_TYPE

app = create_control_app(control_from_environment())
handler = Mangum(
    app, lifespan="off", text_mime_types=["application/json", PROBLEM_MEDIA_TYPE, "text/"]
)
