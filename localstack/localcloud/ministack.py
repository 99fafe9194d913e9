"""MiniStack: AWS's services in one process, with IAM enforced and state kept across restarts."""

import hashlib
import json
import re
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path

from localcloud import environment, guard, ports, process
from localcloud.errors import LocalCloudError
from localcloud.settings import REGION, ROOT, LocalSettings
from localcloud.state import StateDirectory

_START_SECONDS = 60.0
# It writes every service's state on SIGTERM; a killed MiniStack would lose what is not written.
_STOP_SECONDS = 60.0
# Ollama on a laptop takes its time; MiniStack's own limit is 30 s.
_MODEL_SECONDS = 600
_UNREADABLE = re.compile(
    r"failed to load (?P<service>\w+):|(?P<newer>\w+) state is format"
    r"|Failed to restore persisted state for (?P<restored>\w+)"
)
_UNSAVED = re.compile(r"(?:failed to save|error getting state for) (?P<service>\w+)")


class MiniStack:
    """The one MiniStack of a state directory."""

    name = "ministack"

    def __init__(self, settings: LocalSettings, state: StateDirectory) -> None:
        self._settings = settings
        self._state = state
        self._log = state.logs / "ministack.log"

    def environment(self) -> dict[str, str]:
        """The environment of MiniStack, which its functions inherit."""
        settings, state = self._settings, self._state
        result = environment.bare(state) | {
            "AUTH": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "BIND_HOST": "127.0.0.1",
            # It removes containers of other MiniStacks at its start where it finds an engine.
            "DOCKER_HOST": f"unix://{state.tmp}/no-engine.sock",
            guard.PORTS_VARIABLE: ",".join(str(service.port) for service in settings.services),
            "GATEWAY_PORT": str(settings.cloud_port),
            "IOT_MTLS_ENABLED": "0",
            "MINISTACK_REGION": REGION,
            "PERSIST_STATE": "1",
            "S3_DATA_DIR": str(state.cloud / "s3"),
            "S3_PERSIST": "1",
            "SFTP_ENABLED": "0",
            "STATE_DIR": str(state.cloud / "state"),
        }
        if settings.model:
            result["MINISTACK_BEDROCK_PROXY_URL"] = str(settings.ollama_url).rstrip("/")
            result["MINISTACK_BEDROCK_PROXY_TIMEOUT_SECONDS"] = str(_MODEL_SECONDS)
        if settings.bedrock_endpoint_url:
            result["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = str(settings.bedrock_endpoint_url).rstrip(
                "/"
            )
        return result

    def running(self) -> bool:
        """Whether it runs, with the settings of this command."""
        record = process.find(self._state.run, self.name)
        return record is not None and record.configuration == self._configuration()

    def start(self) -> None:
        """Start it and wait until it answers."""
        port = self._settings.cloud_port
        ports.require_free(port, variable="LOCAL_CLOUD_PORT", purpose="the emulated AWS")
        self._state.clear_tmp()
        log_from = self._log.stat().st_size if self._log.exists() else 0
        record = process.start(
            self._state.run,
            name=self.name,
            command=[sys.executable, "-P", guard.__file__],
            env=self.environment(),
            cwd=self._state.cloud,
            log=self._log,
            configuration=self._configuration(),
        )
        try:
            process.wait_until(record, self._healthy, seconds=_START_SECONDS)
            self._require_readable_state(log_from)
        except BaseException:
            # Not the clean stop: that would save over the state that could not be read.
            with process.undisturbed():
                process.kill(record.identity)
            process.forget(self._state.run, self.name)
            raise

    def stop(self) -> None:
        """Stop it and see that it saved its state."""
        record = process.find(self._state.run, self.name)
        if record is None:
            process.forget(self._state.run, self.name)
            return
        log_from = self._log.stat().st_size if self._log.exists() else 0
        clean = process.stop(record.identity, seconds=_STOP_SECONDS)
        process.forget(self._state.run, self.name)
        self._state.clear_tmp()
        written = self._read_log(log_from)
        unsaved = sorted({found["service"] for found in _UNSAVED.finditer(written)})
        if unsaved or not clean or "shutting down" not in written:
            what = ", ".join(unsaved) or "everything since its start"
            raise LocalCloudError(
                f"MiniStack stopped without saving its state: {what}.",
                f"See {self._log}; `make reset` starts anew.",
            )

    def _configuration(self) -> str:
        described = json.dumps(
            [
                version("ministack"),
                sys.version,
                str(ROOT),
                Path(guard.__file__).read_text(encoding="utf-8"),
                self.environment(),
            ],
            sort_keys=True,
        )
        return hashlib.sha256(described.encode()).hexdigest()

    def _healthy(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self._settings.endpoint}/_ministack/health", timeout=2) as answer:
                return bool(answer.status == 200)  # noqa: PLR2004
        except OSError:
            return False

    def _require_readable_state(self, log_from: int) -> None:
        """MiniStack starts empty where it cannot read a file: say so instead of losing the rest."""
        found = _UNREADABLE.search(self._read_log(log_from))
        if found:
            service = found["service"] or found["newer"] or found["restored"]
            raise LocalCloudError(
                f"The saved state of {service} in {self._state.cloud} cannot be read.",
                "`make reset` starts anew.",
            )

    def _read_log(self, start: int) -> str:
        if not self._log.exists():
            return ""
        with self._log.open("rb") as file:
            file.seek(start)
            return file.read().decode("utf-8", "replace")
