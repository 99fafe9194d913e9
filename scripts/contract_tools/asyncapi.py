"""Makes the AsyncAPI 3.0 document of the events: streams, their types, and what consumers get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts.event import EventType
from contracts.json_schema import DIALECT, json_schema
from contracts.messaging.envelope import Envelope
from contracts.messaging.streams import (
    ALL_STREAMS,
    DEFAULT_STREAM,
    MAX_RECEIVES,
    STREAMS,
    dead_letters_of,
    stream_of,
)

_SCHEMA_FORMAT = "application/schema+json;version=draft-2020-12"
_EXAMPLE: dict[str, Any] = {
    "specversion": "1.0",
    "id": "01KASM0T3ZJ8W6Q1XN5V7D2B4C",
    "source": "santaclaude.projectflow",
    "time": "2026-01-05T09:30:00.218000Z",
    "datacontenttype": "application/json",
    "correlationid": "01KASM0SZZK0V8W3T5Q7R9N1B2",
    "tenant": "project:7",
    "acceptedat": "2026-01-05T09:30:00.301000Z",
}


def asyncapi(event_types: Mapping[str, EventType]) -> dict[str, Any]:
    """The document; the message service is the application that it describes."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Events of Santaclaude services",
            "version": "v1",
            "description": (
                "The message service takes events by `POST /api/v1/events` "
                "(contracts/openapi/messaging.v1.json) and sends them on the environment's "
                "EventBridge bus, whose rules lead each type to its stream: an SQS queue. A "
                "message is a CloudEvents 1.0 event in JSON, the `detail` of what EventBridge "
                "delivers. Delivery is at least once, in no promised order: `id` tells "
                "repetitions."
            ),
        },
        "defaultContentType": "application/json",
        "servers": {
            "bus": {
                "host": "events.{region}.amazonaws.com",
                "protocol": "eventbridge",
                "description": "The environment's bus, `santaclaude-<environment>`.",
                "variables": {"region": {"default": "us-east-1"}},
            }
        },
        "channels": {stream: _channel(stream, event_types) for stream in ALL_STREAMS},
        "operations": {
            f"send-{stream}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{stream}"},
                "summary": f"Events of the stream {stream}",
            }
            for stream in ALL_STREAMS
        },
        "components": {
            "messages": {
                **{name: _message(one) for name, one in sorted(event_types.items())},
                "other": _other(),
            },
            "schemas": {
                "Envelope": {"schemaFormat": _SCHEMA_FORMAT, "schema": _envelope()},
            },
            "correlationIds": {
                "chain": {
                    "description": "The same for all events of one chain.",
                    "location": "$message.payload#/correlationid",
                }
            },
        },
    }


def _channel(stream: str, event_types: Mapping[str, EventType]) -> dict[str, Any]:
    names = [name for name in sorted(event_types) if stream_of(name) == stream]
    told = ", ".join(STREAMS[stream]) if stream in STREAMS else "every type without another stream"
    messages = {name: {"$ref": f"#/components/messages/{name}"} for name in names}
    if stream == DEFAULT_STREAM:
        messages["other"] = {"$ref": "#/components/messages/other"}
    return {
        "address": stream,
        "title": stream,
        "description": (
            f"Of {told}. What a consumer fails to handle {MAX_RECEIVES} times lies in "
            f"`{dead_letters_of(stream)}`."
        ),
        "servers": [{"$ref": "#/servers/bus"}],
        "messages": messages,
    }


def _message(one: EventType) -> dict[str, Any]:
    return {
        "name": one.name,
        "title": one.model.__name__,
        "summary": one.description,
        "contentType": "application/json",
        "correlationId": {"$ref": "#/components/correlationIds/chain"},
        "payload": {
            "schemaFormat": _SCHEMA_FORMAT,
            "schema": {"$schema": DIALECT, **_typed(_envelope(), one)},
        },
        "examples": [
            {
                "name": one.name,
                "payload": {
                    **_EXAMPLE,
                    "type": one.name,
                    "dataschema": one.schema_path,
                    "data": one.example,
                },
            }
        ],
    }


def _other() -> dict[str, Any]:
    return {
        "name": "other",
        "title": "An event of a type without a schema",
        "contentType": "application/json",
        "correlationId": {"$ref": "#/components/correlationIds/chain"},
        "payload": {"$ref": "#/components/schemas/Envelope"},
        "examples": [
            {"name": "other", "payload": {**_EXAMPLE, "type": "report.made", "data": {"n": 1}}}
        ],
    }


def _envelope() -> dict[str, Any]:
    schema = json_schema(Envelope, "serialization")
    # What is absent rather than null is not promised.
    optional = {name for name, field in Envelope.model_fields.items() if field.exclude_if}
    schema["required"] = [name for name in schema["required"] if name not in optional]
    return schema


def _typed(envelope: dict[str, Any], one: EventType) -> dict[str, Any]:
    """The envelope with the type's data; definitions of those move to the root."""
    data = {name: value for name, value in one.schema().items() if name != "$schema"}
    definitions = data.pop("$defs", {})
    properties = {
        **envelope["properties"],
        "type": {"const": one.name},
        "data": data,
    }
    shared = {"$defs": definitions} if definitions else {}
    return {**envelope, **shared, "properties": properties}
