"""What the streaming function loads before it is ready."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.fakes.ai_app import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[3]


def test_the_streaming_function_starts_without_any_sdk_or_fastapi():
    script = (
        "import json, sys, functions.ai.entrypoints.stream; print(json.dumps(list(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={
            **ENVIRONMENT,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'layers/common/python'}",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(json.loads(result.stdout))
    assert not loaded & {"botocore.session", "botocore.client", "boto3", "fastapi", "httpx"}


def test_the_handler_of_the_streaming_function_can_be_run():
    script = ROOT / "functions" / "ai" / "stream.sh"
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/bin/sh\n")
