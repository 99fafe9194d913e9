"""The services' bundles on disk, for the measures that need them as they are deployed."""

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.bundles import COMMON_LOCK, Bundle, DependencyBundle, Platform, SourceBundle

_EVERY_FUNCTION = {
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "ENVIRONMENT": "local",
    "POWERTOOLS_LOG_LEVEL": "INFO",
}


@dataclass(frozen=True)
class Service:
    """What one service is made of; `environment` has the variables of all its functions."""

    name: str
    locks: tuple[str, ...]
    entrypoints: tuple[str, ...]
    environment: Mapping[str, str]

    def source(self, platform: Platform) -> SourceBundle:
        """Its code, which all its functions share."""
        return SourceBundle((f"functions/{self.name}", "contracts"), platform=platform)

    def bundles(self, platform: Platform) -> dict[str, Bundle]:
        """By name: its code and the layers of its functions."""
        return {
            "code": self.source(platform),
            "layer servicekit": SourceBundle(
                ("layers/common/python/servicekit",), platform=platform, base="layers/common"
            ),
            "layer common dependencies": DependencyBundle(COMMON_LOCK, platform=platform),
            **{
                f"layer {lock}": DependencyBundle(lock, platform=platform, provided=COMMON_LOCK)
                for lock in self.locks
            },
        }

    def build(self, folder: Path, platform: Platform) -> Iterator[tuple[str, Path]]:
        """Build each bundle into a folder of its own; yields (name, folder)."""
        for name, bundle in self.bundles(platform).items():
            output = folder / name.replace(" ", "-").replace("/", "-")
            output.mkdir(parents=True)
            bundle.build(output)
            yield name, output


# As the deployed functions get it, but for names that no measure here reaches.
AI = Service(
    name="ai",
    locks=("functions/ai/requirements.txt",),
    entrypoints=("api", "audit", "dispatch", "stream", "upkeep", "worker"),
    environment={
        **_EVERY_FUNCTION,
        "POWERTOOLS_SERVICE_NAME": "ai-service",
        "TABLE_NAME": "bench",
        "CONTENT_BUCKET": "bench",
        "AUDIT_URL_PARAMETER": "/bench/audit/api-url",
        "DEFAULT_MODEL": "amazon.nova-lite-v1:0",
        "ADDITIONAL_MODELS": "",
        "ROUTING": '{"default": [], "fallbacks": []}',
        "IDEMPOTENCY_WINDOW_SECONDS": "86400",
        "TURN_RETENTION_DAYS": "30",
        "SESSION_DAYS": "30",
        "OPENAI_COMPATIBLE_URL": "",
        "OPENAI_URL": "http://bench/openai",
        "ANTHROPIC_URL": "http://bench/anthropic",
        "GEMINI_URL": "http://bench/gemini",
        "PRELOAD_SDKS": "false",
        "HIGH_QUEUE_URL": "http://bench/high",
        "NORMAL_QUEUE_URL": "http://bench/normal",
        "MAX_RECEIVES": "5",
        "MESSAGING_URL_PARAMETER": "/bench/messaging/api-url",
        "MODEL_FIRST_BYTE_TIMEOUT_SECONDS": "60",
        "MODEL_IDLE_TIMEOUT_SECONDS": "60",
    },
)
AUDIT = Service(
    name="audit",
    locks=("functions/audit/requirements.txt", "functions/audit/cold-requirements.txt"),
    entrypoints=(
        "archive",
        "cold",
        "control",
        "export",
        "ingest",
        "intake",
        "query",
        "reconcile",
        "seal",
        "watch",
    ),
    environment={
        **_EVERY_FUNCTION,
        "POWERTOOLS_SERVICE_NAME": "audit-sink-service",
        "ARCHIVE_BUCKET": "bench",
        "ATHENA_WORKGROUP": "bench",
        "COLD_FUNCTION": "bench",
        "DELIVERY_STREAM": "bench",
        "EVIDENCE_BUCKET": "bench",
        "EXPORTS_BUCKET": "bench",
        "EXPORT_QUEUE_URL": "bench",
        "GLUE_DATABASE": "bench",
        "GLUE_TABLE": "bench",
        "HOT_DAYS": "90",
        "INTAKE_QUEUE_URL": "bench",
        "KEYS_TABLE": "bench",
        "LEDGER_TABLE": "bench",
        "LOG_NAME": "bench",
        "MASKED_KINDS": "email,phone,ssn,credit_card",
        "RECORDS_TABLE": "bench",
        "SEALER_FUNCTION": "bench",
        "SEAL_INTERVAL_SECONDS": "60",
        "SETTLE_SECONDS": "2",
        "SIGNING_KEY_ID": "bench",
        "WRAPPING_KEY_ID": "bench",
    },
)
MESSAGING = Service(
    name="messaging",
    locks=("functions/messaging/requirements.txt",),
    entrypoints=(
        "audit",
        "control",
        "deliver",
        "due",
        "publish",
        "push",
        "relay",
        "socket",
        "sweep",
        "tasks",
    ),
    environment={
        **_EVERY_FUNCTION,
        "POWERTOOLS_SERVICE_NAME": "message-queue-service",
        "TABLE_NAME": "bench",
        "AUDIT_URL_PARAMETER": "/bench/audit/api-url",
        "CLAIM_LEASE_SECONDS": "120",
        "CONNECTIONS_URL": "https://bench.execute-api.eu-west-1.amazonaws.com/live",
        "DELIVERIES_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/000000000000/bench-deliveries",
        "EVENT_RETENTION_DAYS": "30",
        "EVENT_ARCHIVE_ARN": "arn:aws:events:eu-west-1:000000000000:archive/bench",
        "EVENT_BUS": "bench",
        "EVENT_BUS_ARN": "arn:aws:events:eu-west-1:000000000000:event-bus/bench",
        "IDEMPOTENCY_WINDOW_SECONDS": "86400",
        "ORDERED_DELIVERIES_QUEUE_URL": (
            "https://sqs.eu-west-1.amazonaws.com/000000000000/bench-deliveries.fifo"
        ),
        "PUSH_FUNCTION": "bench",
        "STREAM_QUEUE_PREFIX": "bench-",
        "STREAM_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/000000000000/bench-events",
        "SWEEP_AFTER_SECONDS": "60",
        "SWEEP_EVENTS_PER_SECOND": "200",
        "TASKS_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/000000000000/bench-tasks",
        "WEBHOOKS_ON_LOOPBACK": "false",
        "WEBHOOK_FAILING_DEAD": "5",
        "WEBHOOK_FAILING_HOURS": "24",
        "WEBSOCKET_URL": "wss://bench.execute-api.eu-west-1.amazonaws.com/live",
    },
)
SERVICES = (AI, AUDIT, MESSAGING)


def zipped_size(folder: Path) -> int:
    """Bytes of the folder as the zip that Lambda receives."""
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in sorted(folder.rglob("*")):
            zipped.write(path, path.relative_to(folder))
    return archive.stat().st_size
