"""Bundles of a log in memory, as the exporter writes them or with a history; how to change them."""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from functions.audit.domain.bundle import BundleWriter, ManifestBase
from functions.audit.domain.errors import CheckpointNotFoundError
from functions.audit.domain.models import ConsistencyProof, Filter, Span
from tests.fakes.audit_log import START, MemoryLog

SCHEMA = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}
Files = dict[str, bytes]


async def write_bundle(
    log: MemoryLog, path: Path, history: Sequence[int] = (), wanted: Filter | None = None
) -> str:
    """A bundle of all records of the log, `wanted` or not; returns the log's vkey."""
    proofs = log.proofs()
    vkey = (await proofs.key()).vkey
    try:
        newest = await proofs.latest()
    except CheckpointNotFoundError:
        newest = None
    base = ManifestBase(
        vkey=vkey,
        checkpoint=newest,
        created_at=log.now,
        span=Span(START, START + timedelta(days=1)),
        filter=wanted or Filter(),
    )
    placed = await proofs.place(log.records, newest) if newest else {}
    with BundleWriter(str(path), base) as writer:
        for event_id, record in log.records.items():
            writer.add(record, placed.get(event_id))
        older = [await proofs.consistency(size, newest.size) for size in history] if newest else []
        writer.finish(SCHEMA)
    if older:
        _add_history(path, older)
    return vkey


def _add_history(path: Path, older: Sequence[ConsistencyProof]) -> None:
    """Older checkpoints, and that the log only grew: what a bundle may hold beside."""
    proofs = [
        {
            "first": proof.first,
            "second": proof.second,
            "path": [entry.hex() for entry in proof.path],
        }
        for proof in older
    ]
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for proof in older:
            archive.writestr(f"checkpoints/{proof.first}", proof.first_checkpoint)
        archive.writestr("consistency.json", json.dumps(proofs))


def unpack(path: Path) -> Files:
    """The files of a bundle."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, files: Mapping[str, bytes]) -> Path:
    """A bundle of these files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def edit_json(files: Files, name: str, change: Callable[[Any], Any]) -> None:
    """Changes a JSON file in place, or by what `change` returns."""
    members = json.loads(files[name])
    files[name] = json.dumps(change(members) or members).encode()


def edit_lines(files: Files, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Changes the lines of records.jsonl."""
    lines = [json.loads(line) for line in files["records.jsonl"].splitlines()]
    change(lines)
    files["records.jsonl"] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def without_newest(log: MemoryLog) -> MemoryLog:
    """The log as a forger would present it: its head one sealing back."""
    other = log.copy()
    other.state.head = replace(other.state.head, size=other.state.head.batch_start)
    return other
