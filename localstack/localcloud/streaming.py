"""The streamed functions as files on disk: what the front door runs in place of Lambda."""

import hashlib
import io
import os
import shutil
import urllib.request
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from localcloud.aws import Aws
from localcloud.state import StateDirectory

if TYPE_CHECKING:
    from mypy_boto3_lambda.type_defs import GetFunctionResponseTypeDef

_DELIVERY_TAG = "santaclaude:delivery"
_SERVICE_TAG = "santaclaude:service"
_ALIAS = "live"


class StreamedFunction(BaseModel):
    """One streamed function: where its code lies, and what Lambda would give it."""

    model_config = ConfigDict(frozen=True)

    name: str
    arn: str
    service: str
    # Path of the program below the code, which the web adapter runs in Lambda.
    handler: str
    role: str
    environment: dict[str, str]
    memory_mb: int
    timeout_seconds: int
    code: Path
    layers: list[Path]


def unpack(aws: Aws, state: StateDirectory, endpoint: str) -> list[StreamedFunction]:
    """Bring the code and layers of every streamed function to disk, where they are not yet.

    Layers that the emulator does not hold (the web adapter's) are left out: the front door stands
    in for them.
    """
    client = aws.functions
    functions = []
    pages = client.get_paginator("list_functions").paginate()
    names = [item["FunctionName"] for page in pages for item in page["Functions"]]
    for name in sorted(names):
        found = client.get_function(FunctionName=name)
        tags = found.get("Tags", {})
        if tags.get(_DELIVERY_TAG) != "streamed":
            continue
        # The API calls the alias; its version is what must run here.
        with_alias = _live(aws, name) or found
        configuration = with_alias["Configuration"]
        target = state.streaming / name
        layers = [
            _directory(target, endpoint, location)
            for layer in configuration.get("Layers", [])
            if (location := _layer_location(aws, layer["Arn"]))
        ]
        functions.append(
            StreamedFunction(
                name=name,
                arn=configuration["FunctionArn"],
                service=tags[_SERVICE_TAG],
                handler=configuration["Handler"],
                role=configuration["Role"],
                environment=configuration.get("Environment", {}).get("Variables", {}),
                memory_mb=configuration["MemorySize"],
                timeout_seconds=configuration["Timeout"],
                code=_directory(target, endpoint, with_alias["Code"]["Location"]),
                layers=layers,
            )
        )
    return functions


def prune(state: StateDirectory, functions: list[StreamedFunction]) -> None:
    """Remove what no current function uses; the processes that used it must have ended."""
    used = {path for function in functions for path in (function.code, *function.layers)}
    for directory in state.streaming.glob("*/*"):
        if directory not in used:
            shutil.rmtree(directory, ignore_errors=True)


def _live(aws: Aws, name: str) -> "GetFunctionResponseTypeDef | None":
    try:
        return aws.functions.get_function(FunctionName=name, Qualifier=_ALIAS)
    except ClientError:
        return None


def _layer_location(aws: Aws, arn: str) -> str | None:
    try:
        return aws.functions.get_layer_version_by_arn(Arn=arn)["Content"].get("Location")
    except ClientError:
        return None


def _directory(parent: Path, endpoint: str, location: str) -> Path:
    """The archive's content, unpacked once per content."""
    archive = _download(endpoint, location)
    target = parent / hashlib.sha256(archive).hexdigest()[:16]
    if target.exists():
        return target
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        for member in opened.infolist():
            path = opened.extract(member, part)
            mode = member.external_attr >> 16 & 0o777
            if mode and not member.is_dir():
                os.chmod(path, mode | 0o400)  # noqa: PTH101 - extract answers with a string
    part.rename(target)
    return target


def _download(endpoint: str, location: str) -> bytes:
    """The archive. The location's host is the emulator's own idea of its name; ours is loopback."""
    parts = urlsplit(location)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{endpoint}{parts.path}?{parts.query}", timeout=60) as answer:
        content: bytes = answer.read()
    return content
