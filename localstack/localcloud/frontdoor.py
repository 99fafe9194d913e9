"""Starting and stopping the front door's process."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Collection
from pathlib import Path

from localcloud import environment, ports, process
from localcloud.door.child import SOCKETS_PREFIX
from localcloud.door.plan import Plan, ServicePlan
from localcloud.door.server import READY_FILE
from localcloud.errors import LocalCloudError
from localcloud.settings import ROOT, LocalSettings
from localcloud.state import StateDirectory, read_json
from localcloud.streaming import StreamedFunction

NAME = "door"
_PLAN_FILE = "door-plan.json"
_START_SECONDS = 90.0
_STOP_SECONDS = 30.0


class FrontDoor:
    """The one front door of a state directory."""

    def __init__(self, settings: LocalSettings, state: StateDirectory) -> None:
        self._settings = settings
        self._state = state

    def plan(self, services: list[ServicePlan], streamed: list[StreamedFunction]) -> Plan:
        """What a front door started now would serve."""
        settings, state = self._settings, self._state
        variables = {
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": settings.endpoint,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "HOME": str(state.home),
            "LANG": "C.UTF-8",
            "TMPDIR": str(state.tmp),
            "TZ": "UTC",
        }
        if settings.bedrock_endpoint_url:
            address = str(settings.bedrock_endpoint_url).rstrip("/")
            variables["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = address
        return Plan(
            endpoint=settings.endpoint,
            services=services,
            streamed=streamed,
            environment=variables,
            interpreter=self._interpreter(),
            logs=state.logs,
            run=state.run,
            version=_code_version(),
        )

    def current_plan(self) -> Plan | None:
        """The plan of the front door that runs; None when none does."""
        record = process.find(self._state.run, NAME)
        value = read_json(self._state.run / _PLAN_FILE)
        if record is None or value is None:
            return None
        try:
            plan = Plan.model_validate(value)
        except ValueError:
            return None
        return plan if record.configuration == _digest(plan) else None

    def running(self) -> bool:
        """Whether a front door runs, whatever it serves."""
        return process.find(self._state.run, NAME) is not None

    def held_ports(self) -> set[int]:
        """The ports of the front door that runs, whatever it serves."""
        if not self.running():
            return set()
        value = read_json(self._state.run / _PLAN_FILE)
        try:
            return {service["port"] for service in value["services"]}
        except (TypeError, KeyError):
            # Of another version, or cut short: most likely the ports of today.
            return {service.port for service in self._settings.services}

    def require_free_ports(self, *, held: Collection[int] = ()) -> None:
        """Raise LocalCloudError when another process has one of the services' ports.

        `held` are ports of what will be stopped before.
        """
        for service in self._settings.services:
            if service.port in held:
                continue
            ports.require_free(
                service.port,
                variable=f"LOCAL_{service.name.upper()}_PORT",
                purpose=service.health_name,
            )

    def start(self, plan: Plan) -> None:
        """Start it and wait until every service is served and every streamed application ready.

        Raises LocalCloudError when it is not; `stop` ends what is left then.
        """
        run = self._state.run
        (run / READY_FILE).unlink(missing_ok=True)
        path = run / _PLAN_FILE
        path.write_text(plan.model_dump_json(indent=1), encoding="utf-8")
        record = process.start(
            run,
            name=NAME,
            command=[sys.executable, "-m", "localcloud.door", str(path)],
            env=environment.bare(self._state) | {"PYTHONPATH": str(ROOT / "localstack")},
            cwd=self._state.root,
            log=self._state.logs / "door.log",
            configuration=_digest(plan),
        )
        process.wait_until(record, (run / READY_FILE).exists, seconds=_START_SECONDS)
        self._require_applications()

    def stop(self) -> None:
        """Stop it and what it has started."""
        run = self._state.run
        record = process.find(run, NAME)
        if record is not None:
            process.stop(record.identity, seconds=_STOP_SECONDS)
        process.forget(run, NAME)
        # A door that was killed could not end its applications.
        for path in run.glob("streamed-*.json"):
            left = process.recorded(run, path.stem)
            if left is not None:
                process.stop(left.identity, seconds=5)
                sockets = Path(left.configuration)
                if sockets.name.startswith(SOCKETS_PREFIX):
                    shutil.rmtree(sockets, ignore_errors=True)
            process.forget(run, path.stem)

    def _require_applications(self) -> None:
        failure = read_json(self._state.run / READY_FILE)["failure"]
        if failure:
            raise LocalCloudError(failure, f"Its log is in {self._state.logs}.")

    def _interpreter(self) -> Path:
        """A directory with `python`: the interpreter itself, without what we develop with."""
        directory = self._state.root / "python"
        directory.mkdir(exist_ok=True)
        base = getattr(sys, "_base_executable", sys.executable)
        for name in ("python", "python3"):
            link = directory / name
            if not link.is_symlink() or os.readlink(link) != base:  # noqa: PTH115
                link.unlink(missing_ok=True)
                link.symlink_to(base)
        return directory


def _digest(plan: Plan) -> str:
    described = json.dumps(plan.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()


def _code_version() -> str:
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
