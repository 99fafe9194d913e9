"""Signatures of Standard Webhooks: what a receiver checks an event's origin and integrity by.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime

PREFIX = "whsec_"

_MADE_BYTES = 32
_VERSION = "v1"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a subscription's events are signed with: texts `whsec_<base64>`. Never shown.

    The `former` one signs beside the current one before `former_until`.
    """

    current: str
    former: str | None = None
    former_until: datetime | None = None

    def __repr__(self) -> str:
        return "Secrets(...)"

    def rotated(self, current: str, former_until: datetime | None) -> Secrets:
        """With another current one; without `former_until` the present one ends at once."""
        return Secrets(current, self.current if former_until else None, former_until)

    def at(self, now: datetime) -> list[str]:
        """Those that sign at that time, the current one first."""
        former = self.former if self.former_until and now < self.former_until else None
        return [self.current, *([former] if former else [])]


def make_secret() -> str:
    """A new secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_MADE_BYTES)).decode()


def signed_headers(signed_by: Secrets, event_id: str, body: bytes, now: datetime) -> dict[str, str]:
    """The headers that identify and sign a request sent at `now`, an aware time of any zone."""
    # Whole seconds since 1970 in UTC, whatever zone the time is told in.
    timestamp = str(int(now.timestamp()))
    content = b".".join((event_id.encode(), timestamp.encode(), body))
    signatures = (_signature(secret, content) for secret in signed_by.at(now))
    return {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"{_VERSION},{signature}" for signature in signatures),
    }


def _signature(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
