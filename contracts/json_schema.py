"""JSON Schemas of the contracts' models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import CoreSchema

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Untitled(GenerateJsonSchema):
    """Leaves out the titles that repeat each field's name."""

    def field_title_should_be_set(self, schema: CoreSchema | Any) -> bool:  # noqa: ARG002
        """None of them."""
        return False


def json_schema(model: type[BaseModel], mode: JsonSchemaMode) -> dict[str, Any]:
    """The self-contained schema of a body as it is read (`validation`) or written."""
    return {"$schema": DIALECT, **model.model_json_schema(mode=mode, schema_generator=Untitled)}
