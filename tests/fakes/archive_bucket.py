"""The archive's bucket in memory, with Parquet objects as Firehose writes them."""

import asyncio
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
from botocore.response import StreamingBody

from functions.audit.domain.archive import COLUMNS, row
from functions.audit.domain.cold import ColdService
from functions.audit.domain.ports import ColdStore

_TYPES = {"string": "VARCHAR", "bigint": "BIGINT"}


def parquet(records: Sequence[bytes], folder: Path) -> bytes:
    """One object with a row per record, Snappy, of the archive's columns."""
    source, target = folder / "rows.json", folder / "rows.parquet"
    source.write_bytes(b"".join(row(record) for record in records))
    columns = ", ".join(f"'{name}': '{_TYPES[kind]}'" for name, kind in COLUMNS.items())
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * FROM read_json('{source}', format = 'newline_delimited',"
            f" columns = {{{columns}}})) TO '{target}' (FORMAT PARQUET, COMPRESSION SNAPPY)"
        )
    return target.read_bytes()


class ArchiveBucket:
    """The S3 client of one bucket."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.listed: list[dict[str, Any]] = []
        self.failure: Exception | None = None
        self.broken: set[str] = set()

    def get_paginator(self, _operation: str) -> "ArchiveBucket":
        return self

    def paginate(self, **arguments: Any) -> Iterator[dict[str, Any]]:
        self.listed.append(arguments)
        if self.failure:
            raise self.failure
        names = sorted(
            name
            for name in self.objects
            if name.startswith(arguments["Prefix"]) and name > arguments["StartAfter"]
        )
        for start in range(0, len(names), 2):
            yield {
                "Contents": [
                    {"Key": name, "Size": len(self.objects[name])}
                    for name in names[start : start + 2]
                ]
            }

    def list_objects_v2(self, **arguments: Any) -> dict[str, Any]:
        if self.failure:
            raise self.failure
        return {}

    def get_object(self, **arguments: Any) -> dict[str, Any]:
        name = arguments["Key"]
        self.fetched.append(name)
        content = self.objects[name]
        # What is broken ends early.
        sent = content[:-1] if name in self.broken else content
        return {"Body": StreamingBody(io.BytesIO(sent), len(content))}


class Lambda:
    """The Lambda client: runs the cold function's service over JSON both ways."""

    def __init__(self, store: ColdStore) -> None:
        self.service = ColdService(store)
        self.payloads: list[bytes] = []
        self.failure: Exception | None = None
        self.function_error = False

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        assert FunctionName == "cold"
        if self.failure:
            raise self.failure
        answer = asyncio.run(self.service.answer(json.loads(Payload)))
        self.payloads.append(json.dumps(answer).encode())
        body = {"Payload": io.BytesIO(self.payloads[-1])}
        return {**body, "FunctionError": "Unhandled"} if self.function_error else body
