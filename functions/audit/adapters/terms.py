"""What records are found by, as attributes of records, index entries and markers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from functions.audit.domain.models import Terms
from servicekit.dynamodb import Item


def terms_attributes(terms: Terms) -> Item:
    """The attributes that filters are evaluated on, without those that are None."""
    attributes: Item = {
        "event_type": terms.event_type,
        "resource": terms.resource,
        "action": terms.action,
        "user_id": terms.user_id,
        "request_id": terms.request_id,
        "session_id": terms.session_id,
        "severity": terms.severity,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def terms_from(item: Mapping[str, Any]) -> Terms:
    """The inverse of `terms_attributes`."""
    return Terms(
        event_type=item["event_type"],
        resource=item["resource"],
        action=item["action"],
        user_id=item.get("user_id"),
        request_id=item.get("request_id"),
        session_id=item.get("session_id"),
        severity=item.get("severity"),
    )
