"""Lambda handler of the calls that read: a FastAPI app behind a REST API."""

from __future__ import annotations

from mangum import Mangum

from functions.audit.bootstrap import query_from_environment
from functions.audit.routes.query import create_app
from servicekit.errors import PROBLEM_MEDIA_TYPE

app = create_app(query_from_environment())
handler = Mangum(
    app, lifespan="off", text_mime_types=["application/json", PROBLEM_MEDIA_TYPE, "text/"]
)
