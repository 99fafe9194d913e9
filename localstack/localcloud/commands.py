"""The commands: what a person asks of the local cloud."""

import http.client
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from typing import Any, Literal, get_args

from localcloud import deployment, discovery, ollama, ports, process, seed, streaming
from localcloud.aws import Aws
from localcloud.cloud import Cloud
from localcloud.door.child import STOP_SECONDS
from localcloud.door.plan import Plan
from localcloud.door.server import DRAIN_SECONDS
from localcloud.errors import LocalCloudError
from localcloud.frontdoor import NAME as DOOR
from localcloud.frontdoor import FrontDoor
from localcloud.localstack import LocalStack
from localcloud.lock import exclusive
from localcloud.ministack import MiniStack
from localcloud.progress import Progress, say
from localcloud.settings import STAGE, LocalSettings
from localcloud.state import StateDirectory, read_json, write_json

CloudName = Literal["ministack", "localstack"]
NOT_RUNNING = 3
_CLOUD_FILE = "cloud.json"
_HTTP_OK = 200


class LocalCloud:
    """The local cloud of one state directory."""

    def __init__(self, settings: LocalSettings) -> None:
        self._settings = settings
        self._state = StateDirectory(settings.state)
        self._door = FrontDoor(settings, self._state)

    def up(self, cloud_name: CloudName) -> None:
        """Have everything running, deployed and answering.

        Raises LocalCloudError; then nothing runs that this command started.
        """
        self._state.create()
        with exclusive(self._state.lock, command="up"):
            cloud = _cloud(cloud_name, self._settings, self._state)
            _Up(self._settings, self._state, self._door, cloud).run()

    def down(self) -> bool:
        """Stop everything; state is kept. Returns whether anything ran."""
        if not self._state.exists():
            return False
        with exclusive(self._state.lock, command="down"):
            return self._stop()

    def reset(self) -> None:
        """Stop everything and remove all state."""
        if not self._state.exists():
            return
        with exclusive(self._state.lock, command="reset"):
            # What could not be saved goes now anyway.
            with suppress(LocalCloudError):
                self._stop()
            try:
                for name in get_args(CloudName):
                    _cloud(name, self._settings, self._state).remove_state()
            finally:
                self._state.remove()

    def status(self) -> int:
        """Print what runs and where. Returns the exit code: 0 when all of it runs, else 3."""
        if not self._state.exists():
            say("The local cloud is not running: `make up` starts it.")
            return NOT_RUNNING
        cloud = _last_cloud(self._settings, self._state)
        rows = []
        for name in (cloud.name, DOOR):
            record = process.find(self._state.run, name)
            rows.append((name, f"process {record.identity.pid}" if record else "not running"))
        if isinstance(cloud, LocalStack):
            rows[0] = (cloud.name, "container runs" if cloud.running() else "not running")
        plan = self._door.current_plan()
        for name, text in rows:
            say(f"{name:<12} {text}")
        if plan is None or any(text == "not running" for _, text in rows):
            say("The local cloud is not running: `make up` starts it.")
            return NOT_RUNNING
        say(f"AWS          {plan.endpoint}")
        for service in plan.services:
            api = f"API: {plan.endpoint}/_aws/execute-api/{service.api_id}/{STAGE}"
            note = api if service.api_id else "not deployed"
            say(f"{service.name:<12} http://localhost:{service.port}  ({note})")
        say(ollama.describe(self._settings_in_use(), cloud.name))
        return 0

    def _stop(self) -> bool:
        cloud = _last_cloud(self._settings, self._state)
        progress = Progress()
        ran = self._door.running() or cloud.alive()
        # Of an `up` that was killed.
        ran = deployment.end_leftover_tool(self._state.run) or ran
        _stop_door(self._door, progress)
        _stop_cloud(cloud, progress)
        return ran

    def _settings_in_use(self) -> LocalSettings:
        """The settings with the model that the last `up` was given."""
        model = _last_start(self._state).get("model")
        return self._settings.model_copy(update={"model": model})


class _Up:
    """One run of `up`: each step is skipped where its outcome stands already."""

    def __init__(
        self, settings: LocalSettings, state: StateDirectory, door: FrontDoor, cloud: Cloud
    ) -> None:
        self._settings = settings
        self._state = state
        self._door = door
        self._cloud = cloud
        self._progress = Progress()
        self._aws = Aws(settings.endpoint)
        self._deployment = deployment.Deployment(settings, state, self._aws, self._progress)

    def run(self) -> None:
        """Do what is missing, and undo it if a step fails."""
        ollama.require(self._settings)
        if self._leave_running():
            return
        undo = ExitStack()
        try:
            if not self._cloud.running():
                self._replace_cloud(undo)
            plan = self._deployed_plan()
            self._replace_door(plan, undo)
            self._check_health(plan)
            streaming.prune(self._state, plan.streamed)
            self._progress.step("Ready")
            self._say_what_to_try(plan)
        except BaseException:
            # The reason for the end is what counts, not a reason found while ending.
            with process.undisturbed(), suppress(LocalCloudError):
                undo.close()
            raise

    def _leave_running(self) -> bool:
        """Whether everything runs as it should already."""
        if not (self._cloud.running() and self._door.running()):
            return False
        plan = self._door.current_plan()
        if plan is None or not self._deployment.is_current():
            return False
        services = discovery.find_services(self._aws, self._settings.services)
        if plan != self._door.plan(services, plan.streamed):
            return False
        self._seed()
        self._check_health(plan)
        say("The local cloud is already running, and nothing has changed.")
        self._say_what_to_try(plan)
        return True

    def _replace_cloud(self, undo: ExitStack) -> None:
        """Start the emulator, after stopping what an earlier or half-finished start left."""
        # While what runs goes on running.
        self._cloud.require()
        last = _last_cloud(self._settings, self._state)
        self._require_free_ports(last)
        _stop_door(self._door, self._progress)
        deployment.end_leftover_tool(self._state.run)
        try:
            _stop_cloud(last, self._progress)
        except LocalCloudError as error:
            self._progress.step(error.reason)
        started = {
            "name": self._cloud.name,
            "model": self._settings.model,
            "port": self._settings.cloud_port,
        }
        write_json(self._state.run / _CLOUD_FILE, started)
        self._progress.step(f"Starting {self._cloud.name} on {self._settings.endpoint}")
        undo.callback(_stop_cloud, self._cloud, self._progress)
        self._cloud.start()

    def _require_free_ports(self, last: Cloud) -> None:
        """Raise LocalCloudError for a port that neither is free nor will be when `last` stops."""
        held = self._door.held_ports()
        port = self._settings.cloud_port
        if last.alive():
            held.add(_last_start(self._state).get("port", port))
        if port not in held:
            ports.require_free(port, variable="LOCAL_CLOUD_PORT", purpose="the emulated AWS")
        self._door.require_free_ports(held=held)

    def _deployed_plan(self) -> Plan:
        told = self._deployment.browser()
        if told is not None:
            self._progress.step(told)
        if self._deployment.is_current():
            self._progress.step("Nothing to deploy: no input has changed")
        else:
            self._deployment.deploy()
            self._cloud.save()
        self._seed()
        services = discovery.find_services(self._aws, self._settings.services)
        streamed = streaming.unpack(self._aws, self._state, self._settings.endpoint)
        return self._door.plan(services, streamed)

    def _replace_door(self, plan: Plan, undo: ExitStack) -> None:
        if self._door.current_plan() == plan:
            return
        _stop_door(self._door, self._progress)
        self._door.require_free_ports()
        self._progress.step("Starting the front door")
        undo.callback(_stop_door, self._door, self._progress)
        self._door.start(plan)

    def _seed(self) -> None:
        seeded = seed.provider_keys(self._aws)
        if seeded:
            self._progress.step(f"Provider keys from .env: {', '.join(seeded)}")

    def _check_health(self, plan: Plan) -> None:
        for service in plan.services:
            if service.api_id is None:
                continue
            status = _get(service.port, "/health")
            if status != _HTTP_OK:
                raise LocalCloudError(
                    f"{service.health_name} answers GET /health with {status or 'nothing'}.",
                    f"`make logs SERVICE={service.name}` shows why.",
                )

    def _say_what_to_try(self, plan: Plan) -> None:
        say()
        for service in plan.services:
            where = f"http://localhost:{service.port}"
            say(f"  {service.health_name:<22} {where if service.api_id else 'not deployed yet'}")
        say(f"\n{ollama.describe(self._settings, self._cloud.name)}")
        ai = next(service for service in plan.services if service.name == "ai")
        if ai.api_id:
            say()
            say("Try:")
            for line in _first_calls(f"http://localhost:{ai.port}"):
                say(f"  {line}")


def _last_start(state: StateDirectory) -> dict[str, Any]:
    value = read_json(state.run / _CLOUD_FILE)
    return value if isinstance(value, dict) else {}


def _cloud(name: CloudName, settings: LocalSettings, state: StateDirectory) -> Cloud:
    kind = LocalStack if name == "localstack" else MiniStack
    return kind(settings, state)


def _last_cloud(settings: LocalSettings, state: StateDirectory) -> Cloud:
    """The emulator that the last `up` started."""
    return _cloud(_last_start(state).get("name", "ministack"), settings, state)


def _stop_door(door: FrontDoor, progress: Progress) -> None:
    if door.running():
        progress.step(
            f"Stopping the front door: open streams have {DRAIN_SECONDS} s to end, their functions "
            f"{STOP_SECONDS} s more"
        )
    # Also where it has ended: its applications may run on.
    door.stop()


def _stop_cloud(cloud: Cloud, progress: Progress) -> None:
    if cloud.alive():
        progress.step(f"Stopping {cloud.name}, which saves its state")
    # Also where it has ended: whether it saved its state is told then.
    cloud.stop()


def _first_calls(base: str) -> Iterable[str]:
    json_type = "-H 'Content-Type: application/json'"
    yield f"curl {base}/health"
    yield (
        f"curl -N {base}/api/v1/chat/stream {json_type} "
        '-d \'{"project_id": 1, "user_id": 1, "message": "Hello"}\''
    )
    sessions = f"'{base}/api/v1/sessions?project_id=1&user_id=1'"
    first = 'import json, sys; print(json.load(sys.stdin)["sessions"][0]["session_id"])'
    yield f"curl {sessions}"
    yield f"curl {base}/api/v1/sessions/$(curl -s {sessions} | python3 -c '{first}')"


def _get(port: int, path: str) -> int:
    """The status of a call through the front door, 0 when there is no answer."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            time.sleep(0.2)
        finally:
            connection.close()
    return 0
