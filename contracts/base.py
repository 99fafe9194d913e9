"""The types every wire model is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

MAX_ID = 2**31 - 1
"""The largest integer id: the tables that v1 grew from have 32-bit columns."""

CONTENT_TOO_LARGE = "content_too_large"
"""The `type` of a validation error that a service answers with 413 instead of 422."""


def utf8_size(value: str) -> int:
    """Bytes of `value` in UTF-8: what every size limit of the contracts counts."""
    return len(value.encode())


def json_size(value: Mapping[str, Any] | Sequence[Any]) -> int:
    """Bytes of `value` as compact JSON in UTF-8."""
    return utf8_size(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def too_large(limit: int) -> PydanticCustomError:
    """The validation error of a value of more than `limit` bytes; `ctx` carries `max_bytes`."""
    return PydanticCustomError(
        CONTENT_TOO_LARGE, "Value should have at most {max_bytes} bytes", {"max_bytes": limit}
    )


def _refuse_bool(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return value


def _as_utc(value: datetime) -> datetime:
    # The container services wrote times without a zone, and meant UTC.
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError(
            "datetime_out_of_range", "Input should be a time that UTC can tell"
        ) from None


def is_none(value: object) -> bool:
    """For `exclude_if`: the field of an answer is absent rather than null."""
    return value is None


WireInt = Annotated[int, BeforeValidator(_refuse_bool)]
"""An integer; a JSON boolean is none, though Python says so."""

WireId = Annotated[int, Field(ge=1, le=MAX_ID), BeforeValidator(_refuse_bool)]
"""An integer id in a request: 1 to `MAX_ID`."""

WireCount = Annotated[int, Field(ge=0, le=MAX_ID), BeforeValidator(_refuse_bool)]
"""A number of things, or a place among them: 0 to `MAX_ID`."""

UtcDatetime = Annotated[datetime, AfterValidator(_as_utc)]
"""A point in time; RFC 3339 with `Z` on the wire, an aware UTC datetime in Python."""


class WireModel(BaseModel):
    """A body on the wire: immutable; unknown fields are ignored, both ways."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        # An answer spells out its defaults, so its schema promises them.
        json_schema_serialization_defaults_required=True,
    )
