"""Arrows point inward, and services know of each other through contracts alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = ROOT / "functions"
SERVICES = sorted(path.name for path in FUNCTIONS.iterdir() if (path / "domain").is_dir())

# What a module of each layer may import of its own service.
INWARD = {
    "domain": {"domain"},
    "adapters": {"domain", "adapters"},
    "routes": {"domain", "routes"},
    "entrypoints": {"domain", "routes", "bootstrap"},
    "bootstrap": {"bootstrap", "domain", "adapters", "settings"},
    "settings": {"settings"},
}
# SDKs and web frameworks: who may import them.
FRAMEWORKS = {"fastapi", "starlette", "mangum", "uvicorn"}
SDKS = {
    "boto3",
    "botocore",
    "openai",
    "anthropic",
    "google",
    "h11",
    "httpx",
    "httpx2",
    "playwright",
}


def imports(path: Path) -> Iterator[str]:
    """Every module that `path` imports, at whatever depth of the code."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a module lives"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(service: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((FUNCTIONS / service).rglob("*.py")):
        parts = path.relative_to(FUNCTIONS / service).with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], path


@pytest.mark.parametrize("service", SERVICES)
def test_arrows_point_inward(service):
    prefix = f"functions.{service}."
    for layer, path in modules(service):
        allowed = INWARD[layer]
        for name in imports(path):
            if name.startswith(prefix):
                target = name.removeprefix(prefix).split(".")[0]
                assert target in allowed, f"{path}: {layer} imports {target}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_no_other(service):
    for _, path in modules(service):
        for name in imports(path):
            if name.startswith("functions."):
                assert name.split(".")[1] == service, f"{path} imports {name}"
            assert not name.startswith(("infra", "localcloud", "tests", "scripts", "bench")), path


@pytest.mark.parametrize("service", SERVICES)
def test_domain_knows_neither_sdk_nor_framework(service):
    for layer, path in modules(service):
        top = {name.split(".")[0] for name in imports(path)}
        if layer in {"domain", "routes", "settings", "bootstrap"}:
            assert not top & SDKS, f"{path} imports {top & SDKS}"
        if layer in {"domain", "adapters", "settings", "bootstrap"}:
            assert not top & FRAMEWORKS, f"{path} imports {top & FRAMEWORKS}"


def test_shared_code_knows_no_service():
    for folder in (ROOT / "layers/common/python/servicekit", ROOT / "contracts"):
        for path in folder.rglob("*.py"):
            for name in imports(path):
                assert not name.startswith(("functions", "infra", "localcloud")), path


def test_servicekit_does_not_know_the_contracts_of_services():
    for path in (ROOT / "layers/common/python/servicekit").rglob("*.py"):
        for name in imports(path):
            assert name.split(".")[0] != "contracts" or name.startswith("contracts.problem"), path


def test_the_library_named_localstack_stays_importable():
    assert not (ROOT / "localstack" / "__init__.py").exists()
