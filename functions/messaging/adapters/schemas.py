"""The types' schemas, each compiled when its first event comes.

The contracts' models make the schemas, so nothing but code is deployed; making and compiling one
costs some 6 ms, once in a process and only for the types that come by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from contracts.event import EventType
from contracts.messaging.registry import EVENT_TYPES
from servicekit.errors import InvalidRequestError

Validate = Callable[[Any], Any]

_PAYLOAD = "payload"
_REQUIRED = "Field required"


class EventSchemas:
    """`ports.Schemas` on the contracts' registry."""

    def __init__(self, types: Mapping[str, EventType] = EVENT_TYPES) -> None:
        self._types = types
        self._compiled: dict[str, _Schema] = {}

    def path_of(self, event_type: str) -> str | None:
        """See `Schemas`."""
        known = self._types.get(event_type)
        return known.schema_path if known else None

    def check(self, event_type: str, payload: Mapping[str, Any]) -> None:
        """See `Schemas`."""
        known = self._types.get(event_type)
        if known is None:
            return
        schema = self._compiled.get(event_type)
        if schema is None:
            schema = self._compiled[event_type] = _Schema(known.schema())
        errors = schema.errors(payload)
        if errors:
            raise InvalidRequestError(
                errors=[{"field": name, "message": message} for name, message in errors.items()]
            )


def compile_schema(schema: Mapping[str, Any]) -> Validate:
    """A function that raises `JsonSchemaValueException`; it leaves what it is given as it is."""
    import fastjsonschema  # noqa: PLC0415

    validate: Validate = fastjsonschema.compile(_anchored(schema), use_default=False)
    return validate


class _Schema:
    """One type's schema. The whole of it is asked first, and finds the first error at most; only
    then is every field asked by itself.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._whole = compile_schema(schema)

    def errors(self, payload: Mapping[str, Any]) -> dict[str, str]:
        """What is wrong, by dotted path."""
        whole = dict(_error(self._whole, payload, _PAYLOAD))
        return (dict(self._by_field(payload)) or whole) if whole else whole

    def _by_field(self, payload: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for name in self._schema.get("required", ()):
            if name not in payload:
                yield f"{_PAYLOAD}.{name}", _REQUIRED
        for name, validate in self._fields.items():
            if name in payload:
                yield from _error(validate, payload[name], f"{_PAYLOAD}.{name}")

    @cached_property
    def _fields(self) -> dict[str, Validate]:
        shared = {"$defs": self._schema.get("$defs", {})}
        return {
            name: compile_schema({**shared, **field})
            for name, field in self._schema["properties"].items()
        }


def _error(validate: Validate, value: Any, where: str) -> Iterator[tuple[str, str]]:
    from fastjsonschema import JsonSchemaValueException  # noqa: PLC0415

    try:
        validate(value)
    except JsonSchemaValueException as error:
        # The validator calls the value `data`; its messages quote the schema, not the value.
        path = ".".join(map(str, (where, *error.path[1:])))
        yield path, error.message.removeprefix(error.name or "").strip()


def _anchored(schema: Any) -> Any:
    """The schema with every `$` within a pattern escaped: fastjsonschema takes all for the end."""
    if isinstance(schema, Mapping):
        return {
            name: _escaped(value)
            if name == "pattern" and isinstance(value, str)
            else _anchored(value)
            for name, value in schema.items()
        }
    return [_anchored(item) for item in schema] if isinstance(schema, list) else schema


def _escaped(pattern: str) -> str:
    end = "$" if pattern.endswith("$") else ""
    return pattern.removesuffix("$").replace("$", r"\x24") + end
