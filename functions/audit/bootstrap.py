"""The composition root: settings to dependencies. Nothing else knows ports and adapters both."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from functions.audit.adapters.archive_files import ArchiveFiles, scratch_folder
from functions.audit.adapters.athena import AthenaArchive, AthenaTable
from functions.audit.adapters.cipher import AesGcm
from functions.audit.adapters.cold_function import ColdFunction
from functions.audit.adapters.duckdb_store import DuckdbStore
from functions.audit.adapters.evidence import S3Evidence
from functions.audit.adapters.export_files import S3ExportFiles
from functions.audit.adapters.exports import DynamoExports
from functions.audit.adapters.firehose import FirehoseArchive
from functions.audit.adapters.ledger import DynamoLedger
from functions.audit.adapters.producers import DynamoProducers
from functions.audit.adapters.queues import SqsExportQueue, SqsIntakeQueue
from functions.audit.adapters.records import DynamoRecordReader, DynamoRecordWriter
from functions.audit.adapters.sealer_function import SealerFunction
from functions.audit.adapters.search_state import DynamoSearchState
from functions.audit.adapters.signer import KmsSigner
from functions.audit.adapters.subject_keys import DynamoSubjectKeys
from functions.audit.adapters.wrapping import KmsWrapping
from functions.audit.domain.archive import Archiver
from functions.audit.domain.cold import ColdService
from functions.audit.domain.dependencies import (
    Archive,
    Cold,
    Control,
    Export,
    Ingest,
    Intake,
    Query,
    Reconcile,
    Seal,
    Watch,
)
from functions.audit.domain.erasure import ControlService
from functions.audit.domain.export_worker import ExportWorker, Sources
from functions.audit.domain.exports import ExportService
from functions.audit.domain.ingest import IngestService
from functions.audit.domain.lookup import RecordLookup
from functions.audit.domain.masking import Masking
from functions.audit.domain.personal import Keyring, RecordOpener
from functions.audit.domain.proofs import ProofService
from functions.audit.domain.query import QueryService
from functions.audit.domain.reconciliation import Reconciler, ReconciliationService
from functions.audit.domain.sealer_calls import SealingFunction
from functions.audit.domain.sealing import Sealer
from functions.audit.domain.stats import StatsService
from functions.audit.domain.unsealed import UnsealedSearch
from functions.audit.domain.watch import Watcher
from functions.audit.settings import (
    ArchiverSettings,
    BaseSettings,
    ColdSettings,
    ControlSettings,
    ExporterSettings,
    IngestSettings,
    QuerySettings,
    ReconcilerSettings,
    SealerSettings,
    WatcherSettings,
)
from servicekit.clock import utc_now
from servicekit.dynamodb import DynamoTable
from servicekit.logging import configure_logging
from servicekit.metrics import CloudWatchMetrics


def ingest_from_environment() -> Ingest:
    """The recording function's dependencies. Raises `SettingsError`."""
    return Ingest(_ingest_service())


def intake_from_environment() -> Intake:
    """The dependencies of the intake queue's consumer. Raises `SettingsError`."""
    return Intake(_ingest_service())


def query_from_environment() -> Query:
    """The reading function's dependencies. Raises `SettingsError`."""
    settings = QuerySettings.from_environment()
    _configure_logging(settings)
    ledger_table = DynamoTable(settings.ledger_table)
    keys = DynamoTable(settings.keys_table)
    records = DynamoRecordReader(DynamoTable(settings.records_table), ledger_table, utc_now)
    ledger = DynamoLedger(ledger_table)
    evidence = S3Evidence(settings.evidence_bucket)
    cold = ColdFunction(settings.cold_function)
    keyring = Keyring(DynamoSubjectKeys(keys), KmsWrapping(settings.wrapping_key_id))
    lookup = RecordLookup(records, cold, ledger)
    exports = ExportService(
        DynamoExports(ledger_table),
        S3ExportFiles(settings.exports_bucket),
        SqsExportQueue(settings.export_queue_url),
        utc_now,
    )
    return Query(
        service_name=settings.powertools_service_name,
        queries=QueryService(
            records,
            cold,
            exports,
            lookup,
            RecordOpener(keyring, AesGcm()),
            utc_now,
            settings.hot_days,
        ),
        exports=exports,
        proofs=ProofService(
            lookup.find,
            ledger,
            evidence,
            KmsSigner(settings.signing_key_id),
            _metrics(settings),
            settings.log_name,
            settings.seal_interval_seconds,
        ),
        reconciliation=ReconciliationService(records, DynamoProducers(ledger_table)),
        stats=StatsService(ledger, utc_now, settings.seal_interval_seconds),
        checks={
            "records": records.check,
            "ledger": ledger.head,
            "evidence": partial(evidence.read, "probe"),
            "archive": cold.check,
        },
    )


def control_from_environment() -> Control:
    """The dependencies of the calls that seal and erase. Raises `SettingsError`."""
    settings = ControlSettings.from_environment()
    _configure_logging(settings)
    return Control(
        ControlService(
            DynamoSubjectKeys(DynamoTable(settings.keys_table)),
            SealerFunction(settings.sealer_function),
            SqsIntakeQueue(settings.intake_queue_url),
            utc_now,
        )
    )


def sealer_from_environment() -> Seal:
    """The sealer's dependencies. Raises `SettingsError`."""
    settings = SealerSettings.from_environment()
    _configure_logging(settings)
    signer = KmsSigner(settings.signing_key_id)
    sealer = Sealer(
        DynamoLedger(DynamoTable(settings.ledger_table)),
        S3Evidence(settings.evidence_bucket),
        signer,
        settings.log_name,
        utc_now,
    )
    settle = timedelta(seconds=settings.settle_seconds)
    return Seal(
        SealingFunction(sealer, signer, settings.log_name, _metrics(settings), utc_now, settle)
    )


def archiver_from_environment() -> Archive:
    """The archiver's dependencies. Raises `SettingsError`."""
    settings = ArchiverSettings.from_environment()
    _configure_logging(settings)
    return Archive(Archiver(FirehoseArchive(settings.delivery_stream), _metrics(settings)))


def watcher_from_environment() -> Watch:
    """The watcher's dependencies. Raises `SettingsError`."""
    settings = WatcherSettings.from_environment()
    _configure_logging(settings)
    return Watch(Watcher(_metrics(settings)))


def cold_from_environment() -> Cold:
    """The dependencies of the function over the archive. Raises `SettingsError`."""
    settings = ColdSettings.from_environment()
    _configure_logging(settings)
    folder = scratch_folder()
    files = ArchiveFiles(settings.archive_bucket, folder / "archive")
    return Cold(ColdService(DuckdbStore(files, folder)))


def exporter_from_environment() -> Export:
    """The export worker's dependencies. Raises `SettingsError`."""
    settings = ExporterSettings.from_environment()
    _configure_logging(settings)
    ledger_table = DynamoTable(settings.ledger_table)
    records = DynamoRecordReader(DynamoTable(settings.records_table), ledger_table, utc_now)

    async def record(event_id: str) -> bytes | None:
        entry = await records.get(event_id)
        return entry.record if entry else None

    proofs = ProofService(
        record,
        DynamoLedger(ledger_table),
        S3Evidence(settings.evidence_bucket),
        KmsSigner(settings.signing_key_id),
        _metrics(settings),
        settings.log_name,
        seal_interval_seconds=60,
    )
    table = AthenaTable(settings.athena_workgroup, settings.glue_database, settings.glue_table)
    return Export(
        ExportWorker(
            DynamoExports(ledger_table),
            S3ExportFiles(settings.exports_bucket),
            Sources(records, AthenaArchive(table), proofs, settings.hot_days),
            SealerFunction(settings.sealer_function),
            utc_now,
        )
    )


def reconciler_from_environment() -> Reconcile:
    """The dependencies of the scheduled searches. Raises `SettingsError`."""
    settings = ReconcilerSettings.from_environment()
    _configure_logging(settings)
    ledger = DynamoTable(settings.ledger_table)
    records = DynamoRecordReader(DynamoTable(settings.records_table), ledger, utc_now)
    metrics = _metrics(settings)
    return Reconcile(
        Reconciler(records, DynamoProducers(ledger), metrics),
        UnsealedSearch(
            records, DynamoLedger(ledger), DynamoSearchState(ledger), metrics, settings.hot_days
        ),
    )


def _ingest_service() -> IngestService:
    settings = IngestSettings.from_environment()
    _configure_logging(settings)
    ledger = DynamoTable(settings.ledger_table)
    writer = DynamoRecordWriter(
        DynamoTable(settings.records_table), ledger, DynamoProducers(ledger), settings.hot_days
    )
    keys = DynamoSubjectKeys(DynamoTable(settings.keys_table))
    return IngestService(
        writer,
        Keyring(keys, KmsWrapping(settings.wrapping_key_id)),
        AesGcm(),
        Masking(settings.masked_kind_names),
        utc_now,
    )


def _metrics(settings: BaseSettings) -> CloudWatchMetrics:
    return CloudWatchMetrics(f"Santaclaude/{settings.environment}/audit")


def _configure_logging(settings: BaseSettings) -> None:
    configure_logging(settings.powertools_service_name, settings.powertools_log_level)
