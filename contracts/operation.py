"""How a service's contract names its HTTP operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

Method = Literal["get", "post", "put", "patch", "delete"]
Delivery = Literal["buffered", "streamed"]

JSON_MEDIA_TYPE = "application/json"
EVENT_STREAM_MEDIA_TYPE = "text/event-stream"
NDJSON_MEDIA_TYPE = "application/x-ndjson"
MAX_IDEMPOTENCY_KEY_LENGTH = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A query or path parameter; `schema` is JSON Schema."""

    name: str
    schema: dict[str, Any]
    description: str
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer to a call, in the model's JSON."""

    model: type[BaseModel]
    description: str
    example: Any
    is_list: bool = False
    status: int = 200
    media_type: str = JSON_MEDIA_TYPE


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path: what its document says and what its implementation must do.

    `errors` are the statuses that answer with a Problem; `also` are the other answers with a body
    of their own; `signed` ones need SigV4; `idempotent_by_key` ones take `Idempotency-Key`.
    """

    operation_id: str
    method: Method
    path: str
    summary: str
    tag: str
    answer: Answer
    errors: tuple[int, ...]
    also: tuple[Answer, ...] = ()
    description: str = ""
    body: type[BaseModel] | None = None
    body_example: Any = None
    path_parameters: tuple[Parameter, ...] = ()
    query: tuple[Parameter, ...] = ()
    delivery: Delivery = "buffered"
    signed: bool = True
    idempotent_by_key: bool = False

    @property
    def answers(self) -> tuple[Answer, ...]:
        """Every answer with a body of its own."""
        return (self.answer, *self.also)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """One version of one service's HTTP contract.

    `messages` are what else passes between the service and others, such as over a WebSocket: each
    has a JSON Schema beside those of the bodies.
    """

    service: str
    version: str
    title: str
    description: str
    local_url: str
    operations: tuple[Operation, ...]
    messages: tuple[type[BaseModel], ...] = ()
