"""LocalStack proper instead of MiniStack: a container, for who has Docker and its token."""

import os
import shutil
import subprocess
from pathlib import Path

from dotenv import dotenv_values

from localcloud.errors import LocalCloudError
from localcloud.process import last_line, open_log
from localcloud.settings import ROOT, LocalSettings
from localcloud.state import StateDirectory

COMPOSE_FILE = ROOT / "localstack" / "docker-compose.yml"
_PROJECT = "santaclaude-local"
_VOLUME = f"{_PROJECT}_localstack"
# In the state directory's `run` from the first start on: before it there is nothing to ask for.
_STARTED_FILE = "localstack.started"
_TOKEN = "LOCALSTACK_AUTH_TOKEN"  # noqa: S105 - the name of the variable, not a token


class LocalStack:
    """LocalStack under `docker compose`."""

    name = "localstack"

    def __init__(
        self, settings: LocalSettings, state: StateDirectory, *, env_file: Path = ROOT / ".env"
    ) -> None:
        self._settings = settings
        self._state = state
        self._env_file = env_file
        self._log = state.logs / "localstack.log"
        self._started = state.run / _STARTED_FILE

    def command(self, *arguments: str) -> list[str]:
        """The `docker compose` command for our file and project."""
        return [
            "docker",
            "compose",
            "--project-name",
            _PROJECT,
            "--file",
            str(COMPOSE_FILE),
            *arguments,
        ]

    def environment(self) -> dict[str, str]:
        """The person's environment, which finds their engine, and what the compose file reads."""
        return dict(os.environ) | {
            # Compose wants one for every command, also where no container is started.
            _TOKEN: self._token() or "none",
            "LOCAL_CLOUD_PORT": str(self._settings.cloud_port),
        }

    def running(self) -> bool:
        """Whether its container runs."""
        if not self._started.exists() or shutil.which("docker") is None:
            return False
        answer = subprocess.run(
            self.command("ps", "--services", "--status", "running"),
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        return answer.returncode == 0 and "localstack" in answer.stdout.split()

    def alive(self) -> bool:
        """The same: its settings are in the compose file."""
        return self.running()

    def require(self) -> None:
        """Raise LocalCloudError without an engine that runs, Compose or a token."""
        _require_engine("Install and start Docker, or leave CLOUD out: MiniStack needs neither.")
        if not self._token():
            raise LocalCloudError(
                f"LocalStack needs {_TOKEN}.",
                "Put the token of your LocalStack account into the environment or into .env.",
            )

    def start(self) -> None:
        """Start the container and wait until it is healthy."""
        self.require()
        self._started.touch()
        self._run("up", "--detach", "--wait")

    def save(self) -> None:
        """Nothing: LocalStack saves by itself."""

    def stop(self) -> None:
        """Stop the container; its volume keeps what LocalStack persists."""
        if self.running():
            self._run("down")

    def remove_state(self) -> None:
        """Remove the volume, if there ever was one."""
        if self._started.exists():
            _require_engine(f"Its volume is left: `docker volume rm {_VOLUME}` removes it.")
            self._run("down", "--volumes")

    def _token(self) -> str:
        return os.environ.get(_TOKEN) or dotenv_values(self._env_file).get(_TOKEN) or ""

    def _run(self, *arguments: str) -> None:
        descriptor = open_log(self._log)
        try:
            code = subprocess.run(
                self.command(*arguments),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                check=False,
            ).returncode
        finally:
            os.close(descriptor)
        if code:
            raise LocalCloudError(
                f"`docker compose {arguments[0]}` failed: {last_line(self._log)}",
                f"The whole log is {self._log}.",
            )


def _require_engine(remedy: str) -> None:
    if shutil.which("docker") is None:
        raise LocalCloudError("LocalStack needs Docker, which is not installed.", remedy)
    if not _succeeds("docker", "info"):
        raise LocalCloudError("LocalStack needs Docker, whose engine does not run.", remedy)
    if not _succeeds("docker", "compose", "version"):
        raise LocalCloudError("LocalStack needs Docker's Compose, which is not installed.", remedy)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
