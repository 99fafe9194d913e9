"""What the routes and triggers are given: the domain's services, made by `bootstrap`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from functions.audit.domain.archive import Archiver
from functions.audit.domain.cold import ColdService
from functions.audit.domain.erasure import ControlService
from functions.audit.domain.export_worker import ExportWorker
from functions.audit.domain.exports import ExportService
from functions.audit.domain.ingest import IngestService
from functions.audit.domain.proofs import ProofService
from functions.audit.domain.query import QueryService
from functions.audit.domain.reconciliation import Reconciler, ReconciliationService
from functions.audit.domain.sealer_calls import SealingFunction
from functions.audit.domain.stats import StatsService
from functions.audit.domain.unsealed import UnsealedSearch
from functions.audit.domain.watch import Watcher


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


Check = Callable[[], Awaitable[object]]
"""Raises when a dependency does not answer."""


@dataclass(frozen=True, slots=True)
class Query:
    """What the reading routes need; `checks` by the dependency's name."""

    service_name: str
    queries: QueryService
    exports: ExportService
    proofs: ProofService
    reconciliation: ReconciliationService
    stats: StatsService
    checks: Mapping[str, Check]


@dataclass(frozen=True, slots=True)
class Archive:
    """What the archiver needs."""

    service: Archiver


@dataclass(frozen=True, slots=True)
class Watch:
    """What the watcher needs."""

    service: Watcher


@dataclass(frozen=True, slots=True)
class Cold:
    """What the function over the archive needs."""

    service: ColdService


@dataclass(frozen=True, slots=True)
class Export:
    """What the export worker needs."""

    service: ExportWorker


@dataclass(frozen=True, slots=True)
class Seal:
    """What the sealer's function needs."""

    service: SealingFunction


@dataclass(frozen=True, slots=True)
class Reconcile:
    """What the searches for gaps and for records outside of the log need."""

    service: Reconciler
    unsealed: UnsealedSearch
