"""`Idempotency-Key`: the same key and body get the first answer again, without a second effect.

A record is made before the work and finished in the same transaction as the work's last write, so
a crash leaves either no effect or a record that says how far the work came.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from servicekit.clock import Clock
from servicekit.errors import AppError, BadRequestError

LEASE_SECONDS = 60
"""How long a record counts as running: what a crash makes others wait."""

RETRY_AFTER_SECONDS = 2
"""When to ask again for work in progress, which is short: what takes longer has an id to follow."""

MAX_KEY_LENGTH = 255

_VISIBLE_ASCII = range(0x21, 0x7F)
T = TypeVar("T")
_logger = logging.getLogger(__name__)

Reference = Mapping[str, Any]
"""Ids by which the work's answer is found again; JSON values, never content."""


class InvalidIdempotencyKeyError(BadRequestError):
    """The header is not 1 to 255 visible ASCII characters."""

    code = "invalid_idempotency_key"
    title = "The Idempotency-Key is not valid"


class IdempotencyConflictError(AppError):
    """The key was used with another request."""

    code = "idempotency_conflict"
    status = 409
    title = "The Idempotency-Key was used with another request"


class IdempotencyInProgressError(AppError):
    """The first request with this key is still being worked on."""

    code = "idempotency_in_progress"
    status = 409
    title = "A request with this Idempotency-Key is in progress"


@dataclass(frozen=True, slots=True)
class Record:
    """What is stored for a key. Times are epoch seconds."""

    key: str
    fingerprint: str
    token: str
    completed: bool
    lease_expires_at: int
    expires_at: int
    reference: Reference | None = None


class RecordStore(Protocol):
    """Where records live. Every write is conditional."""

    async def create(self, record: Record, now: int) -> Record | None:
        """Writes `record` unless one lives; returns that one. Expired ones are overwritten."""

    async def retake(self, record: Record, previous_token: str) -> Record | None:
        """Gives a running record that still has `previous_token` to `record`, but its reference.

        Where there is a reference, the fingerprints must be equal. Returns what is stored then, or
        None if another was faster.
        """

    async def extend(self, key: str, token: str, lease_expires_at: int) -> bool:
        """Moves the lease of a running record that still has `token`; False if it has not."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do the work. `record.reference` tells how far an earlier attempt came."""

    record: Record


@dataclass(frozen=True, slots=True)
class ClaimUpdate:
    """What a service's store writes to the record together with its own items.

    The write carries the condition that the record is running and has the claim's token.
    """

    claim: Claim
    reference: Reference
    completed: bool


@dataclass(frozen=True, slots=True)
class Request:
    """One request under a key: `key` is scoped already, see `scope_key`."""

    key: str
    fingerprint: str


def scope_key(header: str, *scope: str | int) -> str:
    """The record's key: a digest of the header and of whatever separates one use from another."""
    return _digest([header, *scope])


def fingerprint(body: Mapping[str, Any]) -> str:
    """A digest of the request in canonical form: equal requests, however spelt, are equal."""
    return _digest(body)


def check_key(header: str) -> str:
    """The header's value. Raises `InvalidIdempotencyKeyError`."""
    if not 1 <= len(header) <= MAX_KEY_LENGTH or any(ord(c) not in _VISIBLE_ASCII for c in header):
        raise InvalidIdempotencyKeyError(f"It has 1 to {MAX_KEY_LENGTH} visible ASCII characters.")
    return header


class Idempotency:
    """The states of a key: absent, running under a lease, completed for the window."""

    def __init__(self, store: RecordStore, clock: Clock, window_seconds: int) -> None:
        self._store = store
        self._clock = clock
        self._window = window_seconds

    async def begin(self, request: Request) -> Claim | Reference:
        """A claim for whoever does the work, or the reference of the work that is done.

        Raises `IdempotencyConflictError` and `IdempotencyInProgressError`.
        """
        now = self._now()
        wanted = Record(
            key=request.key,
            fingerprint=request.fingerprint,
            token=secrets.token_hex(16),
            completed=False,
            lease_expires_at=now + LEASE_SECONDS,
            expires_at=now + self._window,
        )
        found = await self._store.create(wanted, now)
        # Its own token means that the store's client repeated a write whose answer was lost.
        if found is None or found.token == wanted.token:
            return Claim(wanted)
        # Work that was let go before it stored anything, as a refused request is, binds nobody.
        bound = found.completed or found.lease_expires_at > now or found.reference is not None
        if bound and found.fingerprint != request.fingerprint:
            raise IdempotencyConflictError
        if found.completed:
            return found.reference or {}
        if found.lease_expires_at > now:
            raise IdempotencyInProgressError(retry_after=RETRY_AFTER_SECONDS)
        retaken = await self._store.retake(wanted, found.token)
        if retaken is None:
            raise IdempotencyInProgressError(retry_after=RETRY_AFTER_SECONDS)
        return Claim(retaken)

    async def once(
        self,
        request: Request | None,
        work: Callable[[Claim | None], Awaitable[T]],
        replay: Callable[[Reference], Awaitable[T]],
    ) -> T:
        """Does `work`, or `replay`s the work that is done; without a key it is always `work`."""
        if request is None:
            return await work(None)
        begun = await self.begin(request)
        if not isinstance(begun, Claim):
            return await replay(begun)
        try:
            return await work(begun)
        except BaseException:
            await self.release(begun)
            raise

    async def release(self, claim: Claim) -> None:
        """Lets the next request with this key go on from what the record's reference says.

        Where that fails, the lease ends by itself.
        """
        try:
            await self._store.extend(claim.record.key, claim.record.token, 0)
        except Exception:
            _logger.warning("lease not released", exc_info=True)

    def _now(self) -> int:
        return int(self._clock().timestamp())


def _digest(content: object) -> str:
    canonical = json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()
