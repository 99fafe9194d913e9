"""The records of one export, on disk: they may be more than memory holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from functions.audit.domain.models import Found
from functions.audit.domain.proofs import Placed
from servicekit.clock import to_text

HASH_BYTES = 32
_PAGE_BYTES = 16_384

_SCHEMA = """
CREATE TABLE records (
    event_id TEXT PRIMARY KEY,
    accepted_at TEXT NOT NULL,
    record BLOB NOT NULL,
    leaf_index INTEGER,
    path BLOB
)
"""

_ORDER = "leaf_index IS NULL, leaf_index, accepted_at, event_id"


class Collection:
    """Records, each id once, with their places in the log. One thread at a time may use it."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # Records with their paths are a few KB: on pages of the default 4 KB, most of them would
        # leave one partly empty.
        self._database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        # What is lost with the process is collected again.
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(_SCHEMA)
        self.count = 0
        self.size_bytes = 0

    def add(self, found: Iterable[Found]) -> None:
        """Adds records that are not there yet; of an id that was used again, the newest."""
        for item in found:
            row = {
                "event_id": item.position.event_id,
                "at": to_text(item.position.accepted_at),
                "record": item.record,
            }
            added = self._database.execute(
                "INSERT OR IGNORE INTO records (event_id, accepted_at, record)"
                " VALUES (:event_id, :at, :record)",
                row,
            ).rowcount
            self.count += added
            self.size_bytes += added * len(item.record)
            if not added:
                self._database.execute(
                    "UPDATE records SET accepted_at = :at, record = :record"
                    " WHERE event_id = :event_id AND accepted_at < :at",
                    row,
                )

    def groups(self, at_once: int) -> Iterator[dict[str, bytes]]:
        """All records by their id, `at_once` of them at a time, as nearly as it is known in the
        log's order: neighbours there share what proves them.
        """
        last = ("", "")
        query = (
            "SELECT accepted_at, event_id, record FROM records"
            " WHERE (accepted_at, event_id) > (?, ?) ORDER BY accepted_at, event_id LIMIT ?"
        )
        self._database.execute("CREATE INDEX by_time ON records (accepted_at, event_id)")
        while rows := self._database.execute(query, (*last, at_once)).fetchall():
            yield {event_id: record for _, event_id, record in rows}
            last = rows[-1][:2]

    def place(self, placed: Mapping[str, Placed]) -> None:
        """Notes places in the log."""
        self._database.executemany(
            "UPDATE records SET leaf_index = ?, path = ? WHERE event_id = ?",
            [
                (place.leaf_index, b"".join(place.path), event_id)
                for event_id, place in placed.items()
            ],
        )

    def in_order(self) -> Iterator[tuple[bytes, Placed | None]]:
        """Records with their places: in the log's order, then what is not sealed, by time."""
        # Without an index, SQLite sorts whole records, in a second copy of them on the disk.
        self._database.execute(f"CREATE INDEX in_order ON records ({_ORDER})")
        rows = self._database.execute(
            f"SELECT record, leaf_index, path FROM records ORDER BY {_ORDER}"  # noqa: S608
        )
        for record, index, path in rows:
            yield record, None if index is None else Placed(index, _hashes(path))

    def close(self) -> None:
        """Ends the use of the file."""
        self._database.close()


def _hashes(path: bytes) -> list[bytes]:
    return [path[n : n + HASH_BYTES] for n in range(0, len(path), HASH_BYTES)]
