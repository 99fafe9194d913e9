"""ASGI app of the calls that wait for a model; `stream.sh` serves it to the web adapter."""

from __future__ import annotations

from functions.ai.bootstrap import stream_from_environment
from functions.ai.routes.streamed import create_app

app = create_app(stream_from_environment())
