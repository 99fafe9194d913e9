"""Which service calls, by the role that it calls under."""

from __future__ import annotations


def service_of(principal: str, environment: str) -> str:
    """`ai` for the role `santaclaude-<environment>-ai-worker`; else the role's whole name."""
    role = principal.rpartition("/")[2]
    name = role.removeprefix(f"santaclaude-{environment}-")
    return name if name == role else name.partition("-")[0]
