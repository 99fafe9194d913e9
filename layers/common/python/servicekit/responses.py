"""Answers in the form of the contract's models."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel
from starlette.responses import Response


class WireResponse(Response):
    """A model, or a list of them, as JSON."""

    media_type = "application/json"

    def __init__(self, content: BaseModel | Sequence[BaseModel], status_code: int = 200) -> None:
        if isinstance(content, BaseModel):
            body = content.model_dump_json()
        else:
            body = f"[{','.join(item.model_dump_json() for item in content)}]"
        super().__init__(body, status_code)
