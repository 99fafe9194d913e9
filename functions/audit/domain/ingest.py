"""Recording: what is reported becomes an entry that is stored once.

Nothing is answered before it is stored, and a report that is repeated is stored once.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from contracts.audit.v1 import MAX_FUTURE_SECONDS, MAX_RECORD_BYTES
from functions.audit.domain import canonical, personal, producers
from functions.audit.domain.errors import EventConflictError
from functions.audit.domain.masking import Masked, Masking
from functions.audit.domain.models import Appended, Entry, NewEvent, Terms
from functions.audit.domain.personal import DataKey, Keyring
from functions.audit.domain.ports import Cipher, RecordWriter
from servicekit.clock import Clock, to_text
from servicekit.errors import AppError, ContentTooLargeError, InternalError, InvalidRequestError
from servicekit.idempotency import scope_key
from servicekit.ids import new_ulid

SCHEMA = "1"
PERSONAL = "personal"
"""The kind under which a personal field without a person is masked."""

_FUTURE = timedelta(seconds=MAX_FUTURE_SECONDS)
_DERIVED_ID_DIGITS = 32
_TEXTS = (
    "event_id",
    "event_type",
    "resource",
    "action",
    "request_id",
    "session_id",
    "producer",
    "severity",
    "data_classification",
)
_NUMBERS = ("user_id", "sequence")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event that is stored; `created` unless it was there before."""

    event_id: str
    record: bytes
    created: bool


Outcome = Recorded | AppError


@dataclass(frozen=True, slots=True)
class _Draft:
    """A report, masked: its members in canonical form, and what is to be encrypted."""

    event: NewEvent
    members: dict[str, str]
    personal: dict[str, Any]


def choose_event_id(given: str | None, key: str | None, principal: str, index: int) -> str:
    """The producer's id; else one that follows from the Idempotency-Key; else a new one."""
    if given is not None:
        return given
    if key is not None:
        return f"ik-{scope_key(key, principal, index)[:_DERIVED_ID_DIGITS]}"
    return new_ulid()


class IngestService:
    """Masks, encrypts, canonicalises and stores events."""

    def __init__(
        self,
        writer: RecordWriter,
        keyring: Keyring,
        cipher: Cipher,
        masking: Masking,
        clock: Clock,
    ) -> None:
        self._writer = writer
        self._keyring = keyring
        self._cipher = cipher
        self._masking = masking
        self._clock = clock

    async def record(self, events: Sequence[NewEvent], reported_by: str) -> list[Outcome]:
        """Stores events, each by itself; one outcome per event, in their order."""
        entries = await self._entries([self._draft(event, reported_by) for event in events])
        return await self._store(entries)

    async def record_one(self, event: NewEvent, reported_by: str) -> tuple[dict[str, Any], bool]:
        """Stores one event; its content as readers see it, and whether it is new.

        Raises an `AppError`.
        """
        [outcome] = await self.record([event], reported_by)
        if isinstance(outcome, AppError):
            raise outcome
        opener = personal.RecordOpener(self._keyring, self._cipher)
        [content] = await opener.open_records([outcome.record])
        return content, outcome.created

    def _draft(self, event: NewEvent, reported_by: str) -> _Draft | AppError:
        now = self._clock()
        if event.occurred_at is not None and event.occurred_at > now + _FUTURE:
            return _refused(
                "occurred_at", f"At most {MAX_FUTURE_SECONDS} seconds ahead: it is {to_text(now)}"
            )
        if event.sequence is not None and not producers.may_count(event.producer, reported_by):
            return _refused("producer", _counts_for(producers.owner_of(reported_by)))
        metadata, secret = personal.split(event.metadata)
        found: list[Masked] = []
        if event.user_id is None:
            metadata |= _without_person(secret, found)
            secret = {}
        members = _members(event, reported_by)
        members["metadata"] = self._masked(metadata, found)
        if secret:
            secret = {
                path: self._masking.mask(value, path, found) for path, value in secret.items()
            }
        if found:
            members["masked"] = canonical.serialise(_described(found))
        return _Draft(event, members, secret)

    def _masked(self, metadata: Mapping[str, Any], found: list[Masked]) -> str:
        """The metadata in canonical form, masked."""
        text = canonical.serialise(metadata)
        if not self._masking.suspects(text):
            return text
        before = len(found)
        masked = self._masking.mask(metadata, "metadata", found)
        return text if len(found) == before else canonical.serialise(masked)

    async def _entries(self, drafts: Sequence[_Draft | AppError]) -> list[Entry | AppError]:
        persons = {
            draft.event.user_id
            for draft in drafts
            if isinstance(draft, _Draft) and draft.personal and draft.event.user_id is not None
        }
        keys: Mapping[int, DataKey] | AppError = {}
        if persons:
            try:
                keys = await self._keyring.provide(persons)
            except Exception as error:  # noqa: BLE001 - the other events are stored all the same
                keys = _as_app_error(error)
        return [
            draft if isinstance(draft, AppError) else self._entry(draft, keys) for draft in drafts
        ]

    def _entry(self, draft: _Draft, keys: Mapping[int, DataKey] | AppError) -> Entry | AppError:
        event, members = draft.event, draft.members
        report = dict(members)
        del report["reported_by"]
        if draft.personal and event.user_id is not None:
            if isinstance(keys, AppError):
                return keys
            sealed, digest = personal.seal(
                draft.personal, event.event_id, keys[event.user_id], self._cipher
            )
            members["personal"] = canonical.serialise(sealed)
            report["personal"] = canonical.serialise_text(digest)
        accepted_at = self._clock()
        members["timestamp"] = canonical.serialise_text(to_text(accepted_at))
        members["schema"] = SCHEMA
        record = canonical.join(members).encode()
        if len(record) > MAX_RECORD_BYTES:
            return ContentTooLargeError(
                f"A stored event has at most {MAX_RECORD_BYTES} bytes; this one has {len(record)}.",
                errors=[{"field": "metadata", "message": "Too large"}],
            )
        return Entry(
            event_id=event.event_id,
            accepted_at=accepted_at,
            record=record,
            fingerprint=hashlib.sha256(canonical.join(report).encode()).hexdigest(),
            terms=_terms(event),
            producer=event.producer,
            sequence=event.sequence,
        )

    async def _store(self, entries: Sequence[Entry | AppError]) -> list[Outcome]:
        """Stores the first entry of each id; what its repetitions are is told by comparison."""
        first: dict[str, Entry] = {}
        for entry in entries:
            if isinstance(entry, Entry):
                first.setdefault(entry.event_id, entry)
        stored = dict(zip(first, await self._append(list(first.values())), strict=True))
        return [
            entry
            if isinstance(entry, AppError)
            else _outcome(entry, stored[entry.event_id], is_first=first[entry.event_id] is entry)
            for entry in entries
        ]

    async def _append(self, entries: Sequence[Entry]) -> Sequence[Appended | Exception]:
        if not entries:
            return []
        try:
            return await self._writer.append(entries)
        except Exception as error:  # noqa: BLE001 - told of each event
            return [error] * len(entries)


def _outcome(entry: Entry, appended: Appended | Exception, *, is_first: bool) -> Outcome:
    if isinstance(appended, Exception):
        return _as_app_error(appended)
    if appended.entry.fingerprint != entry.fingerprint:
        return EventConflictError(
            "What is stored under it has other content. Send each event with an id of its own."
        )
    return Recorded(entry.event_id, appended.entry.record, appended.created and is_first)


def _members(event: NewEvent, reported_by: str) -> dict[str, str]:
    """The members of a record that are stored as they were sent."""
    members = {"reported_by": canonical.serialise_text(reported_by)}
    for name in _TEXTS:
        text = getattr(event, name)
        if text is not None:
            members[name] = canonical.serialise_text(text)
    for name in _NUMBERS:
        number = getattr(event, name)
        if number is not None:
            members[name] = str(number)
    if event.occurred_at is not None:
        members["occurred_at"] = canonical.serialise_text(to_text(event.occurred_at))
    return members


def _terms(event: NewEvent) -> Terms:
    return Terms(
        event_type=event.event_type,
        resource=event.resource,
        action=event.action,
        user_id=event.user_id,
        request_id=event.request_id,
        session_id=event.session_id,
        severity=event.severity,
    )


def _without_person(secret: Mapping[str, Any], found: list[Masked]) -> dict[str, str]:
    found += [Masked(path, (PERSONAL,)) for path in secret]
    return {path.rpartition(".")[2]: f"[{PERSONAL}]" for path in secret}


def _described(found: Sequence[Masked]) -> list[dict[str, Any]]:
    ordered = sorted(found, key=lambda masked: masked.path)
    return [{"path": masked.path, "kinds": list(masked.kinds)} for masked in ordered]


def _refused(field: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(errors=[{"field": field, "message": message}])


def _counts_for(owner: str | None) -> str:
    if owner is None:
        return "The reporter may send no sequence"
    return f"With a sequence it must be {owner}, or begin with {owner}:"


def _as_app_error(error: Exception) -> AppError:
    if isinstance(error, AppError):
        return error
    _logger.error("an event was not stored", exc_info=error)
    return InternalError()
