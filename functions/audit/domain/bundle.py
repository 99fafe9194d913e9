"""Writes bundles: exports that `contracts/audit/audit_verify.py` checks, whose docstring has the
format.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from contracts.audit import audit_verify as verifier
from functions.audit.domain.models import Checkpoint, Filter, Span
from functions.audit.domain.proofs import Placed
from servicekit.clock import to_text

# The ZIP's own times tell nothing: one content, one file.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LEVEL = 6


@dataclass(frozen=True, slots=True)
class ManifestBase:
    """What is known of an export before it is written; the records' paths are in `checkpoint`.

    `checkpoint` is None of an empty log.
    """

    vkey: str
    checkpoint: Checkpoint | None
    created_at: datetime
    span: Span
    filter: Filter


class BundleWriter:
    """One bundle at `path`, to be signed once it is left by `finish`; else the file is no bundle.

    Records go from memory to the file as they come. Blocks on compression and the disk: call it
    in batches, from where that may be.
    """

    def __init__(self, path: str, manifest_base: ManifestBase) -> None:
        self._base = manifest_base
        self._archive = zipfile.ZipFile(path, "w")
        self._lines = self._archive.open(_entry(verifier.RECORDS), "w", force_zip64=True)
        self.records = 0
        self.proven = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lines.close()
        self._archive.close()

    def add(self, record: bytes, placed: Placed | None) -> None:
        """One more record, each id once; None: it is not in the checkpoint's log."""
        line = {
            "record": record.decode(),
            "leaf_index": placed.leaf_index if placed else None,
            "path": [entry.hex() for entry in placed.path] if placed else None,
        }
        self._lines.write(_json(line) + b"\n")
        self.records += 1
        self.proven += placed is not None

    def finish(self, schema: Mapping[str, Any]) -> None:
        """Adds all but the records."""
        self._lines.close()
        if self._base.checkpoint:
            self._write(verifier.CHECKPOINT, self._base.checkpoint.text.encode())
        self._write(verifier.SCHEMA, _json(schema))
        self._write(verifier.MANIFEST, _json(self._manifest()))
        self._archive.close()

    def _manifest(self) -> dict[str, Any]:
        base = self._base
        wanted = {
            name: value
            for name in Filter.__slots__
            if (value := getattr(base.filter, name)) is not None
        }
        return {
            "format": verifier.FORMAT,
            "log": verifier.parse_vkey(base.vkey).name,
            "vkey": base.vkey,
            "tree_size": base.checkpoint.size if base.checkpoint else 0,
            "created_at": to_text(base.created_at),
            "span": {"start": to_text(base.span.start), "end": to_text(base.span.end)},
            "filter": wanted,
            "records": self.records,
            "proven": self.proven,
        }

    def _write(self, name: str, content: bytes) -> None:
        self._archive.writestr(_entry(name), content)


def digest(path: str) -> bytes:
    """What is to be signed of a bundle that has been written."""
    with Path(path).open("rb") as file:
        return verifier.digest_of(file, file.seek(0, os.SEEK_END) - verifier.LENGTH_BYTES)


def attach(path: str, note: str) -> None:
    """Puts the note over `digest` where a ZIP ends, as its comment."""
    comment = note.encode()
    with Path(path).open("r+b") as file:
        file.seek(-verifier.LENGTH_BYTES, os.SEEK_END)
        file.write(len(comment).to_bytes(verifier.LENGTH_BYTES, "little") + comment)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    # Readable by its owner and everyone else.
    entry.external_attr = 0o644 << 16
    return entry


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
