"""The routes of a service, read from its committed OpenAPI document, which alone lists them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CONTRACTS = Path(__file__).resolve().parent.parent / "contracts" / "openapi"
_METHODS = frozenset({"get", "post", "put", "patch", "delete"})


@dataclass(frozen=True)
class Route:
    """One method of the API as API Gateway needs to know it."""

    method: str
    path: str
    tag: str
    streamed: bool
    signed: bool
    has_body: bool
    required_query: tuple[str, ...]

    @property
    def first_segment(self) -> str:
        return self.path.split("/")[1]

    @property
    def collection(self) -> str:
        """What the route is about: the segment after the version, the first one without it."""
        parts = self.path.split("/")
        return parts[3] if self.path.startswith("/api/") else parts[1]


def load(document: str) -> list[Route]:
    """Routes of `contracts/openapi/<document>.json`, in its order."""
    openapi = json.loads((_CONTRACTS / f"{document}.json").read_text())
    return list(_routes(openapi["paths"]))


def _routes(paths: Mapping[str, Mapping[str, Any]]) -> Iterator[Route]:
    for path, item in paths.items():
        for method, operation in item.items():
            if method in _METHODS:
                parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
                yield Route(
                    method=method.upper(),
                    path=path,
                    tag=operation["tags"][0],
                    streamed=operation["x-delivery"] == "streamed",
                    signed=bool(operation["security"]),
                    has_body="requestBody" in operation,
                    required_query=tuple(
                        parameter["name"]
                        for parameter in parameters
                        if parameter.get("in") == "query" and parameter.get("required")
                    ),
                )
