"""The environment of the audit sink's functions: a field is the variable of its upper-case name."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from servicekit.settings import Settings


class BaseSettings(Settings):
    """Of every function."""

    environment: Literal["local", "dev", "staging", "prod"]
    powertools_service_name: str = Field(min_length=1)
    powertools_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class RecordsSettings(BaseSettings):
    """Of functions that know records."""

    records_table: str = Field(min_length=1)
    ledger_table: str = Field(min_length=1)
    # How long records answer from the table; older ones answer from the archive.
    hot_days: int = Field(ge=2)


class IngestSettings(RecordsSettings):
    """Of the functions that store records: behind the API, and behind the intake queue."""

    keys_table: str = Field(min_length=1)
    wrapping_key_id: str = Field(min_length=1)
    masked_kinds: str

    @property
    def masked_kind_names(self) -> frozenset[str]:
        """The comma-separated names of `masked_kinds`."""
        return frozenset(name for part in self.masked_kinds.split(",") if (name := part.strip()))


class LogSettings(BaseSettings):
    """Of functions that read or extend the log."""

    ledger_table: str = Field(min_length=1)
    evidence_bucket: str = Field(min_length=1)
    signing_key_id: str = Field(min_length=1)
    # The log's name: first line of every checkpoint (C2SP tlog-checkpoint: its origin).
    log_name: str = Field(min_length=1)


class SealerSettings(LogSettings):
    """Of the sealer."""

    # Markers younger than that stay: queries find records by them until the indexes have caught up.
    settle_seconds: float = Field(ge=0)


class QuerySettings(LogSettings, RecordsSettings):
    """Of the reading half of the API."""

    keys_table: str = Field(min_length=1)
    wrapping_key_id: str = Field(min_length=1)
    cold_function: str = Field(min_length=1)
    exports_bucket: str = Field(min_length=1)
    export_queue_url: str = Field(min_length=1)
    seal_interval_seconds: int = Field(gt=0)


class ControlSettings(BaseSettings):
    """Of the calls that change something beside adding: seal now, erase."""

    keys_table: str = Field(min_length=1)
    sealer_function: str = Field(min_length=1)
    intake_queue_url: str = Field(min_length=1)


class ArchiverSettings(BaseSettings):
    """Of the function between the record table's stream and Firehose."""

    delivery_stream: str = Field(min_length=1)


class WatcherSettings(BaseSettings):
    """Of the function that sees what must not happen to the record table."""


class ColdSettings(BaseSettings):
    """Of the function that queries the archive."""

    archive_bucket: str = Field(min_length=1)


class ExporterSettings(LogSettings, RecordsSettings):
    """Of the export worker."""

    exports_bucket: str = Field(min_length=1)
    sealer_function: str = Field(min_length=1)
    athena_workgroup: str = Field(min_length=1)
    glue_database: str = Field(min_length=1)
    glue_table: str = Field(min_length=1)


class ReconcilerSettings(RecordsSettings):
    """Of the function that looks for gaps, and for records outside of the log."""
