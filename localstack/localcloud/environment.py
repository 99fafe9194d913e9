"""The environments of the local cloud's processes: nothing of the person's own by accident."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from localcloud.settings import ACCOUNT, REGION, ROOT, ROOT_KEY, LocalSettings
from localcloud.state import StateDirectory

# Functions inherit MiniStack's environment, so a person's keys and proxies must not be in it.
_KEPT = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME")
# What one person's shells differ in: no reason to start anew what runs.
OF_THE_SHELL = (*_KEPT, "PATH")
_KEPT_FOR_DOWNLOADS = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


def tools_path() -> str:
    """PATH with the virtual environment first."""
    venv = str(Path(sys.executable).parent)
    return os.pathsep.join([venv, os.environ.get("PATH", os.defpath)])


def bare(state: StateDirectory, *, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What every process of the cloud gets."""
    kept = {name: environ[name] for name in (*_KEPT, *_KEPT_FOR_DOWNLOADS) if name in environ}
    return kept | {
        "HOME": str(state.home),
        "NODE_COMPILE_CACHE": str(state.root / "node"),
        "PATH": tools_path(),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(state.tmp),
    }


def credentials(settings: LocalSettings) -> dict[str, str]:
    """Root of the emulated account, for the CDK CLI; a person's own profile is out of reach."""
    return {
        "AWS_ACCESS_KEY_ID": ROOT_KEY,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": settings.endpoint,
        "AWS_REGION": REGION,
        "AWS_SECRET_ACCESS_KEY": ROOT_KEY,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "CDK_DEFAULT_ACCOUNT": ACCOUNT,
        "CDK_DEFAULT_REGION": REGION,
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "NO_COLOR": "1",
    }


def synthesis(state: StateDirectory, *, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The person's environment (bundling downloads packages as they do) without AWS's variables."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(("AWS_", "CDK_", "LOCAL_", "PYTHON"))
    }
    return kept | {
        "CDK_DEFAULT_ACCOUNT": ACCOUNT,
        "CDK_DEFAULT_REGION": REGION,
        "NODE_COMPILE_CACHE": str(state.root / "node"),
        "PATH": tools_path(),
        "PYTHONPATH": str(ROOT),
    }
