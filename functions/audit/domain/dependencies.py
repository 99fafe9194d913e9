"""What the routes and triggers are given: the domain's services, made by `bootstrap`."""

from __future__ import annotations

from dataclasses import dataclass

from functions.audit.domain.erasure import ControlService
from functions.audit.domain.ingest import IngestService


@dataclass(frozen=True, slots=True)
class Ingest:
    """What the recording routes need."""

    service: IngestService


@dataclass(frozen=True, slots=True)
class Intake:
    """What the queue's consumer needs."""

    service: IngestService


@dataclass(frozen=True, slots=True)
class Control:
    """What the calls that change something beside adding need."""

    service: ControlService
