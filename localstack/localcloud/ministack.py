"""MiniStack: AWS's services in one process, with IAM enforced and state kept across restarts."""

import hashlib
import json
import re
import shutil
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path

from localcloud import cold_starts, environment, guard, ports, process
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


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


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

    def alive(self) -> bool:
        """Whether it runs, with whatever settings."""
        return process.find(self._state.run, self.name) is not None

    def require(self) -> None:
        """Nothing: it comes with the virtual environment."""

    def start(self) -> None:
        """Start it and wait until it answers."""
        port = self._settings.cloud_port
        ports.require_free(port, variable="LOCAL_CLOUD_PORT", purpose="the emulated AWS")
        self._state.clear_tmp()
        self._clear_what_was_never_saved()
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
            self._require_readable_state(record.log_from)
        except BaseException:
            # Not the clean stop: that would save over the state that could not be read.
            with process.undisturbed():
                process.kill(record.identity)
            process.forget(self._state.run, self.name)
            raise

    def save(self) -> None:
        """Have it save its state while it runs."""
        log_from = self._log_end()
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self._settings.endpoint}{guard.SAVE_PATH}", method="POST"
        )
        with _OPENER.open(request, timeout=_STOP_SECONDS):
            pass
        unsaved = _unsaved(self._read_log(log_from))
        if unsaved:
            raise LocalCloudError(
                f"MiniStack cannot save its state: {unsaved}.", f"See {self._log}."
            )

    def stop(self) -> None:
        """Stop it and see that it saved its state, also where it has ended by itself."""
        record = process.recorded(self._state.run, self.name)
        if record is None:
            return
        log_from = self._log_end() if record.identity.alive() else record.log_from
        process.stop(record.identity, seconds=_STOP_SECONDS)
        process.forget(self._state.run, self.name)
        self._state.clear_tmp()
        _, stopping, written = self._read_log(log_from).rpartition("shutting down")
        if not stopping:
            raise LocalCloudError(
                "MiniStack ended without saving its state: what came after its last save is lost.",
                f"Its log is {self._log}; `make up` goes on from that save.",
            )
        if unsaved := _unsaved(written):
            raise LocalCloudError(
                f"MiniStack stopped without saving its state: {unsaved}.",
                f"See {self._log}; `make reset` starts anew.",
            )

    def remove_state(self) -> None:
        """Nothing: all of it lies in the state directory."""

    def _configuration(self) -> str:
        variables = self.environment()
        for name in environment.OF_THE_SHELL:
            variables.pop(name, None)
        described = json.dumps(
            [
                version("ministack"),
                sys.version,
                sys.prefix,
                str(ROOT),
                *(Path(file).read_text("utf-8") for file in (guard.__file__, cold_starts.__file__)),
                variables,
            ],
            sort_keys=True,
        )
        return hashlib.sha256(described.encode()).hexdigest()

    def _healthy(self) -> bool:
        try:
            with _OPENER.open(f"{self._settings.endpoint}/_ministack/health", timeout=2) as answer:
                return bool(answer.status == 200)  # noqa: PLR2004
        except OSError:
            return False

    def _clear_what_was_never_saved(self) -> None:
        """S3's objects are on disk at once: of a first start that crashed they are all there is."""
        if not any((self._state.cloud / "state").glob("*.json")):
            shutil.rmtree(self._state.cloud)
            self._state.cloud.mkdir()

    def _require_readable_state(self, log_from: int) -> None:
        """MiniStack starts empty where it cannot read a file: say so instead of losing the rest."""
        found = _UNREADABLE.search(self._read_log(log_from))
        if found:
            service = found["service"] or found["newer"] or found["restored"]
            raise LocalCloudError(
                f"The saved state of {service} in {self._state.cloud} cannot be read.",
                "`make reset` starts anew.",
            )

    def _log_end(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0

    def _read_log(self, start: int) -> str:
        if not self._log.exists():
            return ""
        with self._log.open("rb") as file:
            file.seek(start)
            return file.read().decode("utf-8", "replace")


def _unsaved(written: str) -> str:
    """The services whose state could not be saved, by the words of the log."""
    return ", ".join(sorted({found["service"] for found in _UNSAVED.finditer(written)}))
