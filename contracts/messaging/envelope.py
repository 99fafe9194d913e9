"""An event on the bus: CloudEvents 1.0 in its JSON form, as the `detail` of an EventBridge entry.

The entry's `source` and `detail-type` repeat `source` and `type`, for rules to match. Names of the
extension attributes are lower case letters and digits alone, as CloudEvents asks of them.
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from contracts.base import UtcDatetime, WireModel, is_none

SOURCE_PREFIX = "santaclaude."
"""Every source begins so; what follows names the service that published."""

TARGET = "target"
"""The attribute that rules look at; see `Envelope.target`."""

_OPTIONAL = Field(default=None, exclude_if=is_none)


class Envelope(WireModel):
    """One event, as every consumer gets it. Delivery is at least once: `id` tells repetitions."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: Annotated[str, Field(examples=["santaclaude.ai"])]
    type: str
    time: Annotated[UtcDatetime, Field(description="When it happened, by its publisher's clock.")]
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: Annotated[
        str | None,
        Field(
            default=None,
            exclude_if=is_none,
            description="Path of the type's JSON Schema among the contracts, where it has one.",
            examples=["contracts/events/user.created/v1.schema.json"],
        ),
    ]
    correlationid: Annotated[str, Field(description="The same for all events of one chain.")]
    causationid: Annotated[str | None, _OPTIONAL]
    traceparent: Annotated[str | None, _OPTIONAL]
    requestid: Annotated[str | None, _OPTIONAL]
    userid: Annotated[int | None, _OPTIONAL]
    tenant: Annotated[
        str, Field(description="Whose it is: `project:<id>`, else `user:<id>`, else `none`.")
    ]
    orderingkey: Annotated[str | None, _OPTIONAL]
    acceptedat: Annotated[UtcDatetime, Field(description="When the message service took it.")]
    target: Annotated[
        str | None,
        Field(
            default=None,
            exclude_if=is_none,
            description=(
                "The one stream or consumer that a redriven event is for; every rule demands that "
                "there is none, or that it is its own."
            ),
        ),
    ]
    data: dict[str, Any]
