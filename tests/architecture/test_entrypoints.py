"""Entrypoints are thin: they compose, and nothing else."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENTRYPOINTS = sorted(
    path for path in ROOT.glob("functions/*/entrypoints/*.py") if path.name != "__init__.py"
)


def test_there_are_some():
    assert ENTRYPOINTS


@pytest.mark.parametrize("path", ENTRYPOINTS, ids=lambda path: "/".join(path.parts[-3:]))
def test_an_entrypoint_is_short(path):
    assert len(path.read_text().splitlines()) < 60


@pytest.mark.parametrize("path", ENTRYPOINTS, ids=lambda path: "/".join(path.parts[-3:]))
def test_an_entrypoint_holds_no_sdk_and_no_environment(path):
    tree = ast.parse(path.read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in (
            node.names if isinstance(node, ast.Import) else [ast.alias(name=node.module or "")]
        )
    }
    assert not {"boto3", "botocore", "os"} & imported
    assert "environ" not in names | attributes
    assert "getenv" not in names | attributes


def test_only_bootstrap_reads_the_environment():
    for path in ROOT.glob("functions/*/**/*.py"):
        if path.name != "bootstrap.py":
            text = path.read_text()
            assert "os.environ" not in text, path
            assert "getenv(" not in text, path
