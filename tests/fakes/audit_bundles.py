"""Bundles of a log in memory, as the exporter writes them; how to change them."""

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from contracts.audit.audit_verify import export_text
from functions.audit.domain import bundle, notes
from functions.audit.domain.bundle import BundleWriter, ManifestBase
from functions.audit.domain.errors import CheckpointNotFoundError
from functions.audit.domain.models import Filter, Span
from tests.fakes.audit_log import LOG_NAME, START, MemoryLog, MemorySigner

SCHEMA = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}
Files = dict[str, bytes]


async def write_bundle(log: MemoryLog, path: Path, wanted: Filter | None = None) -> str:
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
        writer.finish(SCHEMA)
    await sign(path, log.signer)
    return vkey


async def sign(path: Path, signer: MemorySigner) -> None:
    """Signs a bundle that is not signed, as the sealer does for the exporter."""
    text = export_text(LOG_NAME, bundle.digest(str(path)))
    bundle.attach(str(path), await notes.sign(signer, LOG_NAME, text))


def unpack(path: Path) -> Files:
    """The files of a bundle."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, files: Mapping[str, bytes], note: bytes = b"") -> Path:
    """A bundle of these files, with a note that may be of another."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.comment = note
    return path


async def pack_signed(
    path: Path, files: Mapping[str, bytes], signer: MemorySigner | None = None
) -> Path:
    """A bundle of these files by somebody who has the log's key, or another."""
    pack(path, files)
    await sign(path, signer or MemorySigner())
    return path


def note_of(path: Path) -> bytes:
    """The note at a bundle's end."""
    with zipfile.ZipFile(path) as archive:
        return archive.comment


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
