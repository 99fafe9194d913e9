"""The records of one export, on disk: they may be more than memory holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from functions.audit.domain.models import Found, Leaf, Position
from servicekit.clock import from_text, to_text

_SCHEMA = """
CREATE TABLE records (
    event_id TEXT NOT NULL,
    accepted_at TEXT NOT NULL,
    record BLOB NOT NULL,
    leaf_index INTEGER,
    leaf_hash BLOB,
    PRIMARY KEY (event_id, accepted_at)
) WITHOUT ROWID
"""


class Collection:
    """Records, each once, with their places in the log."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        # What is lost with the process is collected again.
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(_SCHEMA)
        self.count = 0
        self.size_bytes = 0

    def add(self, found: Iterable[Found]) -> None:
        """Adds records that are not there yet."""
        for item in found:
            at = to_text(item.position.accepted_at)
            added = self._database.execute(
                "INSERT OR IGNORE INTO records VALUES (?, ?, ?, NULL, NULL)",
                (item.position.event_id, at, item.record),
            ).rowcount
            self.count += added
            self.size_bytes += added * len(item.record)

    def ids(self, at_once: int) -> Iterator[list[str]]:
        """All event ids, `at_once` of them at a time."""
        last = ""
        query = "SELECT DISTINCT event_id FROM records WHERE event_id > ? ORDER BY 1 LIMIT ?"
        while ids := [row[0] for row in self._database.execute(query, (last, at_once))]:
            yield ids
            last = ids[-1]

    def place(self, leaves: Sequence[Leaf]) -> None:
        """Notes places in the log."""
        self._database.executemany(
            "UPDATE records SET leaf_index = ?, leaf_hash = ? WHERE event_id = ?",
            [(leaf.index, leaf.leaf_hash, leaf.event_id) for leaf in leaves],
        )

    def in_order(self) -> Iterator[tuple[Found, Leaf | None]]:
        """Records with their leaves: in the log's order, then what is not sealed, by time."""
        rows = self._database.execute(
            "SELECT event_id, accepted_at, record, leaf_index, leaf_hash FROM records"
            " ORDER BY leaf_index IS NULL, leaf_index, accepted_at, event_id"
        )
        for event_id, accepted_at, record, index, leaf_hash in rows:
            leaf = None if index is None else Leaf(index, event_id, leaf_hash)
            yield Found(Position(from_text(accepted_at), event_id), record), leaf

    def close(self) -> None:
        """Ends the use of the file."""
        self._database.close()
