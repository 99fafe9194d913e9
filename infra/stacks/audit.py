"""The audit sink: tables, buckets and keys, ten functions and what starts them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

from contracts.messaging.envelope import SOURCE_PREFIX, TARGET
from infra import bundles, bundling, routes
from infra.constructs.alarms import Alarms
from infra.constructs.archive import ArchiveStream, DayTable, Workgroup, default_database
from infra.constructs.permissions import (
    acknowledge_objects,
    bucket_itself,
    invoke,
    items,
    metrics,
    objects,
    queries,
    send,
)
from infra.constructs.private_bucket import AccessLogs, EvidenceBucket, PrivateBucket
from infra.constructs.python_function import FunctionDefaults, PythonFunction
from infra.constructs.restricted_key import RestrictedKey
from infra.constructs.schedule import Schedule
from infra.constructs.service_api import RouteGroup, ServiceApi
from infra.constructs.service_layers import dependency_layer, service_layers
from infra.constructs.service_table import ALL_ATTRIBUTES, ErasableTable, ServiceTable
from infra.constructs.stream_consumer import StreamConsumer
from infra.constructs.work_queue import FailureQueue, WorkQueue
from infra.security import Reason
from infra.settings import DeploySettings
from infra.stacks.audit_alarms import alarms
from infra.stacks.environment import EnvironmentStack

_SERVICE = "audit"

# Role names of the services, after the environment's prefix. Every service reports what was done
# in it; what is reported is read through ProjectFlow, which knows who may see it.
_PRODUCERS = ("projectflow-api", "projectflow-stream", "ai-audit", "messaging-*", "browser-*")
_READERS = ("projectflow-api",)

# Events of other services that are audit records too, by their detail type on the bus.
_BUS_EVENTS = (
    "audit.event",
    "browser.session.closed",
    "browser.session.created",
    "project.archived",
    "project.created",
    "user.created",
    "user.deleted",
    "user.updated",
)

# What queries are evaluated on, in each of the nine indexes that they go through; the tenth tells
# which sequences of a producer arrived, and when (functions/audit/adapters/keys.py).
_TERMS = (
    "event_type",
    "user_id",
    "resource",
    "action",
    "request_id",
    "session_id",
    "severity",
)
_RECORD_INDEXES = (*[_TERMS] * 9, ("accepted_at",))
_PRODUCER_INDEX = "gsi10"
_TIME_INDEX = "gsi1"
_EXPORTS = ("EXPORT#*",)
_PRODUCER_ITEMS = ("PRODUCERS",)
_SEARCHED_ITEM = ("SEARCHED",)
_REPORTED = ("PENDING#*", *_PRODUCER_ITEMS)

_COLUMNS: Mapping[str, str] = {
    "event_id": "string",
    # RFC 3339, which sorts as time does.
    "timestamp": "string",
    "event_type": "string",
    "user_id": "bigint",
    "resource": "string",
    "action": "string",
    "request_id": "string",
    "session_id": "string",
    "severity": "string",
    "producer": "string",
    "sequence": "bigint",
    "record": "string",
}

_COLD_STORAGE_AFTER = Duration.days(90)
_EXPORTS_KEPT = Duration.days(7)
_ACCESS_LOG_DAYS = 365
_BUNDLES = "*.zip"
_ATHENA = "athena"
# 0.50 USD by list price: an export that reads more is asked for by days.
_MAX_SCANNED_GB = 100
_RECONCILE_MINUTES = 5


@dataclass(frozen=True)
class _Shape:
    """What a function gets of Lambda, and why no less."""

    memory_mb: int
    timeout: Duration
    disk_mb: int = 512


# CPU comes with memory: 1,769 MB is one vCPU, and 884 MB, half of one, keeps cold starts short.
_API = _Shape(884, Duration.seconds(29))
_SHAPES = {
    "ingest": _API,
    "query": _API,
    # Waits for the sealer it calls.
    "control": _Shape(512, Duration.seconds(29)),
    "intake": _Shape(884, Duration.minutes(1)),
    # 100,000 records' hashes and tiles in memory, and time for their places to be written.
    "sealer": _Shape(1024, Duration.minutes(5)),
    "archiver": _Shape(512, Duration.minutes(2)),
    "watcher": _Shape(256, Duration.minutes(1)),
    # More than one vCPU and room for DuckDB to sort in; API Gateway waits 29 s for its caller. Its
    # disk keeps the objects of a range while it holds those of another.
    "cold": _Shape(2048, Duration.seconds(29), disk_mb=2048),
    # As long as Lambda allows. On disk an export's records, 700 MB at most, lie twice in SQLite,
    # with its index, and once more in the bundle; what is over is for SQLite's own files.
    "exporter": _Shape(1769, Duration.minutes(15), disk_mb=6144),
    "reconciler": _Shape(512, Duration.minutes(2)),
}


class AuditStack(EnvironmentStack):
    """Everything of the audit sink; it deploys and rolls back alone."""

    def __init__(self, scope: Construct, name: str, *, settings: DeploySettings) -> None:
        super().__init__(scope, name, settings=settings)
        self._prefix = f"{settings.prefix}-{_SERVICE}"
        self._namespace = f"Santaclaude/{settings.environment}/{_SERVICE}"
        self._tables()
        self._buckets()
        self._keys()
        self._archive()
        self._intake = WorkQueue(
            self, "Intake", name=f"{self._prefix}-intake", hidden=Duration.minutes(6)
        )
        self._exports = WorkQueue(
            self, "Exports", name=f"{self._prefix}-exports", hidden=Duration.minutes(16)
        )
        self._functions()
        self._use_keys()
        failures = self._triggers()
        self._api()
        Alarms(
            self,
            "Alarms",
            prefix=self._prefix,
            topic_name=settings.alarm_topic,
            alarms=alarms(
                namespace=self._namespace,
                archiver=self._archiver.name,
                delivery_stream=self._delivery.name,
                failures=failures,
            ),
        )

    def _tables(self) -> None:
        retain = self._settings.retain_data
        self._records = ServiceTable(
            self,
            "Records",
            name=f"{self._prefix}-records",
            indexes=_RECORD_INDEXES,
            stream=True,
            retain=retain,
        )
        self._ledger = ServiceTable(
            self,
            "Ledger",
            name=f"{self._prefix}-ledger",
            indexes=[ALL_ATTRIBUTES],
            retain=retain,
        )
        self._subjects = ErasableTable(
            self, "SubjectKeys", name=f"{self._prefix}-keys", retain=retain
        ).table

    def _buckets(self) -> None:
        settings = self._settings
        logs = AccessLogs(self, "AccessLogs", days=_ACCESS_LOG_DAYS)
        self._evidence = EvidenceBucket(
            self,
            "Evidence",
            logs=logs,
            lock_mode=settings.audit_lock_mode,
            lock_days=settings.audit_lock_days,
            demand_if_none_match=settings.request_details,
            retain=settings.retain_data,
        ).bucket
        self._archived = PrivateBucket(
            self,
            "Archive",
            logs=logs,
            lifecycle_rules=[
                s3.LifecycleRule(
                    # It answers in milliseconds, as queries need; each read costs more.
                    transitions=[
                        s3.Transition(
                            storage_class=s3.StorageClass.GLACIER_INSTANT_RETRIEVAL,
                            transition_after=_COLD_STORAGE_AFTER,
                        )
                    ],
                    expiration=Duration.days(settings.audit_retention_days),
                )
            ],
            retain=settings.retain_data,
        ).bucket
        self._exported = PrivateBucket(
            self,
            "Exported",
            logs=logs,
            lifecycle_rules=[s3.LifecycleRule(expiration=_EXPORTS_KEPT)],
            # An export can be made again.
            retain=False,
        ).bucket

    def _keys(self) -> None:
        retain = self._settings.retain_data
        self._signing = RestrictedKey(
            self,
            "SigningKey",
            use="signing",
            description=f"Signs the checkpoints of {self._prefix}",
            retain=retain,
        )
        self._wrapping = RestrictedKey(
            self,
            "WrappingKey",
            use="wrapping",
            description=f"Wraps the data keys of the persons in {self._prefix}",
            retain=retain,
        )

    def _archive(self) -> None:
        settings = self._settings
        self._events = DayTable(
            self,
            "Events",
            database_name=f"santaclaude_{settings.environment}_audit",
            folder="events",
            bucket=self._archived,
            columns=_COLUMNS,
            # One day more than is kept: a record may arrive on the day after its own.
            days=settings.audit_retention_days + 1,
        )
        self._delivery = ArchiveStream(
            self,
            "Delivery",
            name=f"{self._prefix}-archive",
            bucket=self._archived,
            table=self._events,
            interval=Duration.seconds(settings.audit_archive_interval_seconds),
            log_retention=settings.log_retention,
        )
        self._workgroup = Workgroup(
            self,
            "Workgroup",
            name=f"{self._prefix}-exports",
            results=self._exported.s3_url_for_object(f"{_ATHENA}/"),
            max_scanned_gb=_MAX_SCANNED_GB,
        )

    def _functions(self) -> None:
        settings = self._settings
        platform = bundles.NATIVE if settings.native_platform else bundles.LAMBDA
        self._defaults = FunctionDefaults(
            service=_SERVICE,
            code=bundling.code(
                bundles.SourceBundle(("functions/audit", "contracts"), platform=platform)
            ),
            layers=service_layers(self, lock="functions/audit/requirements.txt", platform=platform),
            log_retention=settings.log_retention,
            snap_start=settings.snap_start,
        )
        duckdb = dependency_layer(
            self,
            "ColdDependencies",
            lock="functions/audit/cold-requirements.txt",
            platform=platform,
        )
        storing = self._storing()
        self._ingest = self._function("ingest", "ingest", self._ingest_environment(), storing)
        self._intake_worker = self._function(
            "intake", "intake", self._ingest_environment(), storing, failures=Reason.QUEUED
        )
        self._cold = self._function(
            "cold",
            "cold",
            {"ARCHIVE_BUCKET": self._archived.bucket_name},
            self._reading_archive(),
            layers=[duckdb],
        )
        self._sealer = self._function(
            "sealer",
            "seal",
            self._log() | {"SETTLE_SECONDS": str(settings.audit_settle_seconds)},
            self._sealing(),
            failures=Reason.SCHEDULED,
        )
        self._query = self._function("query", "query", self._query_environment(), self._querying())
        self._control = self._function(
            "control",
            "control",
            {
                "KEYS_TABLE": self._subjects.table_name,
                "SEALER_FUNCTION": self._sealer.alias.function_arn,
                "INTAKE_QUEUE_URL": self._intake.queue.queue_url,
            },
            [
                items("Erasure", self._subjects, ("DeleteItem", "GetItem")),
                invoke("Sealer", self._sealer.alias),
                send("Intake", self._intake.queue),
            ],
        )
        self._archiver = self._function(
            "archiver",
            "archive",
            {"DELIVERY_STREAM": self._delivery.name},
            [
                iam.PolicyStatement(
                    sid="Archive",
                    actions=["firehose:PutRecordBatch"],
                    resources=[self._delivery.arn],
                ),
                self._metrics(),
            ],
            failures=Reason.STREAMED_FROM_TABLE,
        )
        self._watcher = self._function(
            "watcher", "watch", {}, [self._metrics()], failures=Reason.STREAMED_FROM_TABLE
        )
        self._exporter = self._function(
            "exporter",
            "export",
            self._export_environment(),
            self._exporting(),
            failures=Reason.QUEUED,
        )
        self._reconciler = self._function(
            "reconciler",
            "reconcile",
            self._stored(),
            self._reconciling(),
            failures=Reason.SCHEDULED,
        )
        for function, bucket, names in (
            (self._cold, self._archived, "events/*"),
            (self._sealer, self._evidence, "*"),
            (self._query, self._evidence, "*"),
            (self._query, self._exported, _BUNDLES),
            (self._exporter, self._evidence, "*"),
            (self._exporter, self._archived, "events/*"),
            (self._exporter, self._exported, _BUNDLES),
            (self._exporter, self._exported, f"{_ATHENA}/*"),
        ):
            acknowledge_objects(function.role, bucket, names)

    def _function(
        self,
        name: str,
        module: str,
        environment: Mapping[str, str],
        permissions: Sequence[iam.PolicyStatement],
        *,
        failures: Reason = Reason.SYNCHRONOUS,
        layers: Sequence[lambda_.ILayerVersion] = (),
    ) -> PythonFunction:
        shape = _SHAPES[name]
        return PythonFunction(
            self,
            f"{name.title()}Function",
            name=f"{self._prefix}-{name}",
            handler=f"functions.audit.entrypoints.{module}.handler",
            defaults=self._defaults,
            environment={
                "ENVIRONMENT": self._settings.environment,
                "POWERTOOLS_SERVICE_NAME": "audit-sink-service",
                "POWERTOOLS_LOG_LEVEL": "INFO",
                **environment,
            },
            memory_mb=shape.memory_mb,
            timeout=shape.timeout,
            disk_mb=shape.disk_mb,
            permissions=permissions,
            failures=failures,
            layers=layers,
        )

    # What the functions read: the fields of functions/audit/settings.py.

    def _stored(self) -> dict[str, str]:
        return {
            "RECORDS_TABLE": self._records.table.table_name,
            "LEDGER_TABLE": self._ledger.table.table_name,
            "HOT_DAYS": str(self._settings.audit_hot_days),
        }

    def _personal(self) -> dict[str, str]:
        return {
            "KEYS_TABLE": self._subjects.table_name,
            "WRAPPING_KEY_ID": self._wrapping.key.key_arn,
        }

    def _log(self) -> dict[str, str]:
        return {
            "LEDGER_TABLE": self._ledger.table.table_name,
            "EVIDENCE_BUCKET": self._evidence.bucket_name,
            "SIGNING_KEY_ID": self._signing.key.key_arn,
            "LOG_NAME": f"{self._prefix}-log",
        }

    def _ingest_environment(self) -> dict[str, str]:
        masked = ",".join(self._settings.audit_masked_kinds)
        return self._stored() | self._personal() | {"MASKED_KINDS": masked}

    def _query_environment(self) -> dict[str, str]:
        return (
            self._stored()
            | self._personal()
            | self._log()
            | {
                "COLD_FUNCTION": self._cold.alias.function_arn,
                "EXPORTS_BUCKET": self._exported.bucket_name,
                "EXPORT_QUEUE_URL": self._exports.queue.queue_url,
                "SEAL_INTERVAL_SECONDS": str(60 * self._settings.audit_seal_interval_minutes),
            }
        )

    def _export_environment(self) -> dict[str, str]:
        return (
            self._stored()
            | self._log()
            | {
                "EXPORTS_BUCKET": self._exported.bucket_name,
                "SEALER_FUNCTION": self._sealer.alias.function_arn,
                "ATHENA_WORKGROUP": self._workgroup.name,
                "GLUE_DATABASE": self._events.database_name,
                "GLUE_TABLE": self._events.table_name,
            }
        )

    # What they may do. Putting into the record table is ingest's and intake's alone, and nobody
    # updates or deletes there.

    def _metrics(self) -> iam.PolicyStatement:
        return metrics(self._namespace, bound=self._settings.request_details)

    def _storing(self) -> list[iam.PolicyStatement]:
        return [
            items("Records", self._records.table, ("GetItem", "PutItem")),
            items("Pending", self._ledger.table, ("PutItem",), partitions=_REPORTED),
            items("SubjectKeys", self._subjects, ("BatchGetItem", "GetItem", "PutItem")),
        ]

    def _querying(self) -> list[iam.PolicyStatement]:
        reading = ("BatchGetItem", "GetItem", "Query")
        return [
            items("Records", self._records.table, reading),
            queries("RecordIndexes", self._records),
            items("Ledger", self._ledger.table, reading),
            queries("LedgerIndexes", self._ledger),
            items("Exports", self._ledger.table, ("PutItem",), partitions=_EXPORTS),
            items("SubjectKeys", self._subjects, ("BatchGetItem", "GetItem")),
            objects("Evidence", self._evidence, ("GetObject",)),
            bucket_itself("EvidenceNames", self._evidence, ("ListBucket",)),
            objects("Bundles", self._exported, ("GetObject",), _BUNDLES),
            send("ExportQueue", self._exports.queue),
            invoke("Cold", self._cold.alias),
            self._metrics(),
        ]

    def _sealing(self) -> list[iam.PolicyStatement]:
        return [
            items(
                "Ledger",
                self._ledger.table,
                ("BatchGetItem", "BatchWriteItem", "GetItem", "PutItem", "Query"),
            ),
            objects("Evidence", self._evidence, ("GetObject", "PutObject")),
            bucket_itself("EvidenceNames", self._evidence, ("ListBucket",)),
            self._metrics(),
        ]

    def _reading_archive(self) -> list[iam.PolicyStatement]:
        return [
            objects("Archive", self._archived, ("GetObject",), f"{self._events.folder}/*"),
            bucket_itself("ArchiveNames", self._archived, ("ListBucket",)),
        ]

    def _exporting(self) -> list[iam.PolicyStatement]:
        return [
            items("Records", self._records.table, ("BatchGetItem", "GetItem", "Query")),
            queries("RecordIndexes", self._records),
            items("Ledger", self._ledger.table, ("BatchGetItem", "GetItem", "Query")),
            items("Exports", self._ledger.table, ("PutItem",), partitions=_EXPORTS),
            objects("Evidence", self._evidence, ("GetObject",)),
            bucket_itself("EvidenceNames", self._evidence, ("ListBucket",)),
            objects("Bundles", self._exported, ("PutObject",), _BUNDLES),
            invoke("Sealer", self._sealer.alias),
            *self._reading_archive(),
            iam.PolicyStatement(
                sid="Athena",
                actions=["athena:StartQueryExecution"],
                resources=[self._workgroup.arn],
            ),
            iam.PolicyStatement(
                sid="AthenaQueries",
                actions=["athena:GetQueryExecution"],
                resources=[self._workgroup.arn if self._settings.request_details else "*"],
            ),
            self._events.may("Catalogue", "GetDatabase", "GetPartitions", "GetTable"),
            default_database("DefaultDatabase"),
            # Athena reads and writes under the rights of its caller.
            bucket_itself("ArchivePlace", self._archived, ("GetBucketLocation",)),
            bucket_itself(
                "Results",
                self._exported,
                ("GetBucketLocation", "ListBucket", "ListBucketMultipartUploads"),
            ),
            objects(
                "ResultFiles",
                self._exported,
                ("AbortMultipartUpload", "GetObject", "ListMultipartUploadParts", "PutObject"),
                f"{_ATHENA}/*",
            ),
            self._metrics(),
        ]

    def _reconciling(self) -> list[iam.PolicyStatement]:
        return [
            items("Records", self._records.table, ("BatchGetItem",)),
            queries("Sequences", self._records, _TIME_INDEX, _PRODUCER_INDEX),
            items("Ledger", self._ledger.table, ("BatchGetItem", "GetItem", "Query")),
            items(
                "States",
                self._ledger.table,
                ("PutItem",),
                partitions=(*_PRODUCER_ITEMS, *_SEARCHED_ITEM),
            ),
            self._metrics(),
        ]

    def _use_keys(self) -> None:
        self._wrapping.allow(
            "Wrap", ("Decrypt", "GenerateDataKey"), self._ingest, self._intake_worker
        )
        self._wrapping.allow("Unwrap", ("Decrypt",), self._query)
        # Whatever is signed, the sealer words it: no other function can make a checkpoint.
        self._signing.allow("Sign", ("GetPublicKey", "Sign"), self._sealer)
        self._signing.allow("Verify", ("GetPublicKey",), self._query, self._exporter)

    def _triggers(self) -> list[FailureQueue]:
        """What starts the functions that no caller waits for; the queues where failures end."""
        settings = self._settings
        self._bus_events()
        self._intake.feed(self._intake_worker, batch_size=10)
        # Athena takes few queries at a time: exports wait for each other instead.
        self._exports.feed(self._exporter, batch_size=1, concurrency=2)
        archive = StreamConsumer(
            self,
            "ArchiveConsumer",
            table=self._records,
            function=self._archiver,
            filters=[{"eventName": ["INSERT"]}],
            # Firehose bills a delivery in steps of 5 KB: a batch goes as few and large ones.
            batch_size=1000,
            window=Duration.seconds(5),
        )
        watch = StreamConsumer(
            self,
            "WatchConsumer",
            table=self._records,
            function=self._watcher,
            # Expiry is left to the function to tell: a pattern for what does not bear its mark
            # would miss a removal if it were wrong, and nobody would know.
            filters=[{"eventName": ["MODIFY", "REMOVE"]}],
            batch_size=1000,
            window=Duration.seconds(5),
        )
        Schedule(
            self,
            "SealSchedule",
            function=self._sealer,
            minutes=settings.audit_seal_interval_minutes,
        )
        Schedule(self, "ReconcileSchedule", function=self._reconciler, minutes=_RECONCILE_MINUTES)
        return [
            self._intake.dead_letters,
            self._exports.dead_letters,
            archive.failures,
            watch.failures,
        ]

    def _bus_events(self) -> None:
        bus = events.EventBus.from_event_bus_name(self, "Bus", self._settings.event_bus)
        rule = events.Rule(
            self,
            "BusRule",
            rule_name=f"{self._prefix}-events",
            event_bus=bus,
            # An event that is sent again to one consumer is on record, or not meant to be.
            event_pattern=events.EventPattern(
                source=events.Match.prefix(SOURCE_PREFIX),
                detail_type=list(_BUS_EVENTS),
                detail={TARGET: events.Match.does_not_exist()},
            ),
            targets=[
                targets.SqsQueue(
                    self._intake.queue, dead_letter_queue=self._intake.dead_letters.queue
                )
            ],
        )
        # Nor are events that come out of an archive again; the construct does not know the field.
        cast("events.CfnRule", rule.node.default_child).add_property_override(
            "EventPattern.replay-name", [{"exists": False}]
        )

    def _api(self) -> None:
        settings = self._settings
        all_routes = routes.load("audit.v1")
        operators = settings.operator_role_names
        written = [r for r in all_routes if (r.method, r.collection) == ("POST", "events")]
        controlled = [r for r in all_routes if r.collection in {"flush", "subjects"}]
        read = [r for r in all_routes if r not in written and r not in controlled]
        api = ServiceApi(
            self,
            "Api",
            name=self._prefix,
            groups=[
                RouteGroup(
                    routes=chosen,
                    function=function.alias,
                    callers=[*(f"{settings.prefix}-{role}" for role in roles), *operators],
                )
                for chosen, function, roles in (
                    (written, self._ingest, _PRODUCERS),
                    (read, self._query, _READERS),
                    (controlled, self._control, ()),
                )
            ],
            stream_responses=settings.response_streaming,
            throttling_rate=settings.throttling_rate,
            throttling_burst=settings.throttling_burst,
            log_retention=settings.log_retention,
        ).api
        self.publish(_SERVICE, api)
        if settings.trust_local_operator:
            self.admit_operator(_SERVICE, api)
