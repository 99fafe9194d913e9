"""A record by its id, from the table or from the archive."""

from __future__ import annotations

from datetime import timedelta

from functions.audit.domain.errors import ArchiveUnavailableError, RangeTooWideError
from functions.audit.domain.models import Span
from functions.audit.domain.ports import ColdStore, Ledger, RecordReader

_MOMENT = timedelta(microseconds=1)


class RecordLookup:
    """Finds the canonical bytes of a record.

    When one that has left the table was accepted, its place in the log tells: the archive is asked
    for that moment. Of an id that was used again, the newest record is found.
    """

    def __init__(self, records: RecordReader, cold: ColdStore, ledger: Ledger) -> None:
        self._records = records
        self._cold = cold
        self._ledger = ledger

    async def find(self, event_id: str) -> bytes | None:
        """The record, None if there is none to be found. Raises `ArchiveUnavailableError`."""
        entry = await self._records.get(event_id)
        if entry is not None:
            return entry.record
        history = await self._ledger.history(event_id)
        if not history:
            return None
        accepted_at = history[-1].accepted_at
        try:
            found = await self._cold.get(event_id, Span(accepted_at, accepted_at + _MOMENT))
        except RangeTooWideError:
            raise ArchiveUnavailableError(
                "More was recorded on that day than can be searched by id: find it by time."
            ) from None
        return found.record if found else None
