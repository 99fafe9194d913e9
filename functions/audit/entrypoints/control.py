"""Lambda handler of the calls that seal and erase: a FastAPI app behind a REST API."""

from __future__ import annotations

from mangum import Mangum

from functions.audit.bootstrap import control_from_environment
from functions.audit.routes.control import create_app
from servicekit.errors import PROBLEM_MEDIA_TYPE

app = create_app(control_from_environment())
handler = Mangum(
    app, lifespan="off", text_mime_types=["application/json", PROBLEM_MEDIA_TYPE, "text/"]
)
