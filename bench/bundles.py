"""The AI service's bundles on disk, for the measures that need them as they are deployed."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from infra.bundles import COMMON_LOCK, Bundle, DependencyBundle, Platform, SourceBundle

AI_LOCK = "functions/ai/requirements.txt"

# As the deployed functions get it, but for the table, which no measure here reaches.
ENVIRONMENT = {
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "ENVIRONMENT": "local",
    "POWERTOOLS_SERVICE_NAME": "ai-service",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "TABLE_NAME": "bench",
    "DEFAULT_MODEL": "amazon.nova-lite-v1:0",
    "ADDITIONAL_MODELS": "",
    "IDEMPOTENCY_WINDOW_SECONDS": "86400",
    "MODEL_FIRST_BYTE_TIMEOUT_SECONDS": "60",
    "MODEL_IDLE_TIMEOUT_SECONDS": "60",
}


def bundles(platform: Platform) -> dict[str, Bundle]:
    """By name: the function's code and its three layers."""
    return {
        "code": SourceBundle(("functions/ai", "contracts"), platform=platform),
        "layer servicekit": SourceBundle(
            ("layers/common/python/servicekit",), platform=platform, base="layers/common"
        ),
        "layer common dependencies": DependencyBundle(COMMON_LOCK, platform=platform),
        "layer ai dependencies": DependencyBundle(AI_LOCK, platform=platform, provided=COMMON_LOCK),
    }


def build(folder: Path, platform: Platform) -> Iterator[tuple[str, Path]]:
    """Build each bundle into a folder of its own; yields (name, folder)."""
    for name, bundle in bundles(platform).items():
        output = folder / name.replace(" ", "-")
        output.mkdir(parents=True)
        bundle.build(output)
        yield name, output


def zipped_size(folder: Path) -> int:
    """Bytes of the folder as the zip that Lambda receives."""
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in sorted(folder.rglob("*")):
            zipped.write(path, path.relative_to(folder))
    return archive.stat().st_size
