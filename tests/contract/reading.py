"""What the tests of both services' routes read from apps and error classes."""

from typing import Any

from servicekit import errors


def limits(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without its words, and without the null that stands for an absent parameter."""
    options = [option for option in schema.get("anyOf", [schema]) if option != {"type": "null"}]
    assert len(options) == 1
    words = {"title", "description", "examples", "default"}
    kept = {key: value for key, value in options[0].items() if key not in words}
    return kept | ({"default": schema["default"]} if schema.get("default") is not None else {})


def errors_of(module_prefixes: tuple[str, ...]) -> set[type[errors.AppError]]:
    found: set[type[errors.AppError]] = set()
    pending = [errors.AppError]
    while pending:
        for kind in pending.pop().__subclasses__():
            pending.append(kind)
            if kind.__module__.startswith(module_prefixes):
                found.add(kind)
    return found
