"""Every type of event that has a schema, of whichever service."""

from __future__ import annotations

from collections.abc import Mapping

from contracts.ai.events import EVENTS as AI
from contracts.audit.events import EVENTS as AUDIT
from contracts.automation.events import EVENTS as AUTOMATION
from contracts.browser.events import EVENTS as BROWSER
from contracts.event import EventType
from contracts.messaging.events import EVENTS as MESSAGING
from contracts.projectflow.events import EVENTS as PROJECTFLOW

EVENT_TYPES: Mapping[str, EventType] = {
    one.name: one for one in (*PROJECTFLOW, *AI, *AUTOMATION, *BROWSER, *AUDIT, *MESSAGING)
}
"""By name. A type that is not here is accepted all the same, with any payload."""
