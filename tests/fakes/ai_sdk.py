"""The AI SDK itself (npm `ai`), under Node, through the example of the docs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 60


def docs() -> str:
    """The page that the example stands in."""
    return (ROOT / "docs/ai-service.md").read_text()


def told_to_the_sdk(scenarios: Mapping[str, Any]) -> dict[str, Any]:
    """What the SDK makes of scenarios, see `ai_sdk_reader.ts`: one run of Node reads all."""
    example = re.search(r"## Vercel AI SDK\n.*?```ts\n(.*?)```", docs(), re.DOTALL)
    assert example
    script = example[1] + (ROOT / "tests/fakes/ai_sdk_reader.ts").read_text()
    result = subprocess.run(
        [Path(sys.executable).with_name("node"), "--input-type=module-typescript", "-e", script],
        cwd=ROOT,
        input=json.dumps(scenarios),
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found
