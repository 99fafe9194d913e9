"""Says what in a contract would break the callers of its released version.

Callers send what the released document allows and read what it promises. Additions pass:
operations, optional parameters and request fields, answer fields, enum values, statuses. Whatever
this module does not understand and finds changed counts as breaking.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal

Document = Mapping[str, Any]
Direction = Literal["request", "answer"]

# Of an event: the service reads what publishers send, consumers read what the service sends.
_READERS: tuple[tuple[str, Direction], ...] = (("publishers", "request"), ("consumers", "answer"))
_OF_DOCUMENT = frozenset({"$schema", "$defs"})
_METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")
_LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_ANNOTATIONS = frozenset({"title", "description", "example", "examples", "deprecated", "$comment"})
_COMPARED = frozenset(
    {"$ref", "anyOf", "type", "enum", "const", "properties", "required", "items"}
    | {"additionalProperties", "default", "pattern", *_LOWER_BOUNDS, *_UPPER_BOUNDS}
)


def breaking_changes(released: Document, current: Document) -> list[str]:
    """What `current` takes from callers of `released` (OpenAPI 3.1 documents), one line each."""
    # A schema that many operations share is named by itself, and once.
    return list(dict.fromkeys(_Comparison(released, current).run()))


def breaking_event_changes(released: Document, current: Document) -> list[str]:
    """What breaks whoever publishes or consumes an event by its released JSON Schema, line by line.

    Publishers send what the released schema allows: the current one must accept it. Consumers read
    what it promises: the current one must keep to it.
    """
    comparison = _Comparison(released, current)
    whole = ({k: v for k, v in one.items() if k not in _OF_DOCUMENT} for one in (released, current))
    old, new = whole
    found = [
        f"{reader}: {change.removeprefix(': ')}"
        for reader, direction in _READERS
        for change in comparison.compare(old, new, direction)
    ]
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class _Comparison:
    released: Document
    current: Document

    def run(self) -> Iterator[str]:
        for path, method, old in _operations(self.released):
            name = f"{method.upper()} {path}"
            new = self.current["paths"].get(path, {}).get(method)
            if new is None:
                yield f"{name}: lost"
                continue
            if old["operationId"] != new["operationId"]:
                yield f"{name}: operationId {old['operationId']} is now {new['operationId']}"
            if old.get("security") != new.get("security"):
                yield f"{name}: security changed"
            yield from self._parameters(name, old, new)
            yield from self._request_body(name, old, new)
            yield from self._answers(name, old, new)

    def compare(self, old: Document, new: Document, direction: Direction) -> Iterator[str]:
        """Compare two schemas by themselves."""
        yield from self._schema("", old, new, direction, frozenset())

    def _parameters(self, name: str, old: Document, new: Document) -> Iterator[str]:
        before = dict(_parameters(self.released, old))
        after = dict(_parameters(self.current, new))
        for key, parameter in before.items():
            where = f"{name} {key}"
            if key not in after:
                yield f"{where}: lost"
                continue
            if after[key].get("required") and not parameter.get("required"):
                yield f"{where}: newly required"
            yield from self._schema(
                where, parameter["schema"], after[key]["schema"], "request", frozenset()
            )
        for key in sorted(after.keys() - before.keys()):
            if after[key].get("required"):
                yield f"{name} {key}: newly required"

    def _request_body(self, name: str, old: Document, new: Document) -> Iterator[str]:
        before, after = old.get("requestBody"), new.get("requestBody")
        where = f"{name} request"
        if before is None:
            if after is not None and after.get("required"):
                yield f"{where}: newly required"
            return
        if after is None:
            yield f"{where}: lost"
            return
        if after.get("required") and not before.get("required"):
            yield f"{where}: newly required"
        yield from self._contents(where, before["content"], after["content"], "request")

    def _answers(self, name: str, old: Document, new: Document) -> Iterator[str]:
        for status, before in old["responses"].items():
            after = new["responses"].get(status)
            if after is not None:
                old_content = _resolve(self.released, before).get("content", {})
                new_content = _resolve(self.current, after).get("content", {})
                yield from self._contents(f"{name} {status}", old_content, new_content, "answer")
            elif status.startswith("2"):
                yield f"{name} {status}: lost"

    def _contents(
        self, where: str, old: Document, new: Document, direction: Direction
    ) -> Iterator[str]:
        for media_type, before in old.items():
            if media_type not in new:
                yield f"{where}: no longer {media_type}"
                continue
            after = new[media_type]["schema"]
            yield from self._schema(where, before["schema"], after, direction, frozenset())

    def _schema(
        self,
        where: str,
        old: Document,
        new: Document,
        direction: Direction,
        seen: frozenset[tuple[str, str]],
    ) -> Iterator[str]:
        """Compare two schemas; `seen` holds the pairs of references this one is inside of."""
        pair = (str(old.get("$ref")), str(new.get("$ref")))
        if pair in seen:
            return
        if "$ref" in old and "$ref" in new:
            seen |= {pair}
            where = pair[0].rpartition("/")[2]
        before, after = _variants(self.released, old), _variants(self.current, new)
        if before is None or after is None:
            if old != new:
                yield f"{where}: changed in a way that is not understood"
            return
        if direction == "request":
            yield from _changed_default(where, old, new)
        yield from _changed_kinds(where, before.keys(), after.keys(), direction)
        for kind in sorted(before.keys() & after.keys()):
            options = before[kind], after[kind]
            if all("$ref" in option for option in options):
                yield from self._schema(where, *options, direction, seen)
            else:
                resolved = _resolve(self.released, options[0]), _resolve(self.current, options[1])
                yield from self._variant(where, *resolved, direction, seen)

    def _variant(
        self,
        where: str,
        old: Document,
        new: Document,
        direction: Direction,
        seen: frozenset[tuple[str, str]],
    ) -> Iterator[str]:
        yield from _changed_values(where, old, new, direction)
        if direction == "request":
            yield from _tightened(where, old, new)
        yield from _changed_requirements(where, old, new, direction)
        for keyword in sorted((old.keys() | new.keys()) - _COMPARED - _ANNOTATIONS):
            if old.get(keyword) != new.get(keyword):
                yield f"{where}: {keyword} changed"
        properties = new.get("properties", {})
        for name, schema in old.get("properties", {}).items():
            if name in properties:
                yield from self._schema(
                    f"{where}.{name}", schema, properties[name], direction, seen
                )
            else:
                yield f"{where}.{name}: lost"
        for keyword, suffix in (("items", "[]"), ("additionalProperties", "{}")):
            if keyword in old or keyword in new:
                before, after = (_as_schema(schema.get(keyword, True)) for schema in (old, new))
                yield from self._schema(where + suffix, before, after, direction, seen)


def _operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield path, method, methods[method]


def _parameters(document: Document, operation: Document) -> Iterator[tuple[str, Document]]:
    for written in operation.get("parameters", ()):
        parameter = _resolve(document, written)
        yield f"{parameter['in']} parameter {parameter['name']}", parameter


def _resolve(document: Document, schema: Document) -> Document:
    while "$ref" in schema:
        target: Document = document
        for part in str(schema["$ref"]).removeprefix("#/").split("/"):
            target = target[part]
        schema = target
    return schema


def _as_schema(value: Document | bool) -> Document:
    return value if isinstance(value, Mapping) else {} if value else {"not": {}}


def _variants(document: Document, schema: Document) -> dict[str, Document] | None:
    """The schema's alternatives, as written, by JSON type; None where two have the same."""
    resolved = _resolve(document, schema)
    variants: dict[str, Document] = {}
    for written in resolved.get("anyOf", (resolved,)):
        kinds = _resolve(document, written).get("type", "anything")
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            if kind in variants:
                return None
            variants[kind] = written
    return variants


def _changed_kinds(
    where: str, old: AbstractSet[str], new: AbstractSet[str], direction: Direction
) -> Iterator[str]:
    """JSON types that a request may no longer have, or that an answer may newly have."""
    if direction == "request":
        for kind in sorted(old - new):
            if not (kind == "integer" and "number" in new):
                yield f"{where}: {kind} is no longer accepted"
    else:
        for kind in sorted(new - old):
            if not (kind == "integer" and "number" in old):
                yield f"{where}: may be {kind} now"


def _changed_default(where: str, old: Document, new: Document) -> Iterator[str]:
    if "default" in old and old["default"] != new.get("default"):
        yield f"{where}: default {old['default']!r} is now {new.get('default')!r}"


def _changed_values(
    where: str, old: Document, new: Document, direction: Direction
) -> Iterator[str]:
    before, after = _values(old), _values(new)
    if before is not None and after is not None:
        for value in (value for value in before if value not in after):
            yield f"{where}: lost the value {value!r}"
    elif after is not None and direction == "request":
        yield f"{where}: newly limited to {after}"


def _values(schema: Document) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return schema.get("enum")


def _tightened(where: str, old: Document, new: Document) -> Iterator[str]:
    for keywords, sign in ((_LOWER_BOUNDS, 1), (_UPPER_BOUNDS, -1)):
        for keyword in keywords:
            if keyword in new and (keyword not in old or sign * new[keyword] > sign * old[keyword]):
                yield f"{where}: {keyword} is now {new[keyword]}"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"{where}: pattern is now {new['pattern']}"


def _changed_requirements(
    where: str, old: Document, new: Document, direction: Direction
) -> Iterator[str]:
    before, after = set(old.get("required", ())), set(new.get("required", ()))
    if direction == "request":
        for name in sorted(after - before):
            yield f"{where}.{name}: newly required"
    else:
        for name in sorted((before - after) & set(new.get("properties", {}))):
            yield f"{where}.{name}: no longer guaranteed"
