"""Synthesis and deployment of the CDK app, skipped while none of their inputs has changed."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from botocore.exceptions import ClientError

from localcloud import chromium, environment, event_archive, object_lock, process
from localcloud.aws import Aws
from localcloud.errors import LocalCloudError
from localcloud.progress import Progress
from localcloud.settings import ACCOUNT, REGION, ROOT, WEBSOCKET_PATH, LocalSettings
from localcloud.state import StateDirectory

# Kept in the cloud itself: a cloud that lost its state has lost this too, and is deployed anew.
_FINGERPRINT = "/santaclaude/local/deployment"
_FILES = ("app.py", "cdk.json", "package-lock.json", "requirements-dev.txt")
_TREES = ("contracts", "functions", "infra", "layers")
_SUFFIXES = {".py", ".json", ".sh", ".txt"}
_TIMEOUT_SECONDS = 900
_TOOL = "tool"
_DEPLOYED = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"}
_TELLING = ("Error", "error", "failed", "Failed", "❌")


class Deployment:
    """The app in one emulated cloud."""

    def __init__(
        self, settings: LocalSettings, state: StateDirectory, aws: Aws, progress: Progress
    ) -> None:
        self._settings = settings
        self._state = state
        self._aws = aws
        self._progress = progress

    def context(self) -> dict[str, str]:
        """The CDK context of the local environment."""
        context = {
            "env": "local",
            "endpoint": self._settings.endpoint,
            "websocket_url": f"ws://127.0.0.1:{self._settings.messaging_port}{WEBSOCKET_PATH}",
        }
        models = [self._settings.additional_models]
        if self._settings.model:
            context["default_model"] = self._settings.model
            models.append(self._settings.model)
        context["additional_models"] = ",".join(filter(None, models))
        for name in ("openai_url", "anthropic_url", "gemini_url", "openai_compatible_url"):
            if url := getattr(self._settings, name):
                context[name] = str(url)
        return {name: value for name, value in (context | self._browser()).items() if value}

    def _browser(self) -> dict[str, str]:
        """The machine's Chromium, or nothing: the pool is left out then."""
        found = chromium.find()
        if found is None:
            return {}
        return {
            "chromium_path": str(found),
            "chromium_sandbox": str(chromium.sandboxes(found)).lower(),
            "browser_loopback_sites": self._settings.browser_sites,
        }

    def browser(self) -> str | None:
        """What a person has to know of the machine's Chromium, if anything."""
        found = chromium.find()
        if found is None:
            return f"No Chromium, and so no browser pool: {chromium.REMEDY}"
        if not chromium.sandboxes(found):
            return f"{found.name} runs without its own sandbox here: as root it always does"
        return None

    def is_current(self) -> bool:
        """Whether what is deployed was made from today's files and settings."""
        return self._aws.parameter(_FINGERPRINT) == fingerprint(ROOT, self.context())

    def deploy(self) -> None:
        """Synthesize and deploy every stack.

        Raises LocalCloudError with the tool's own reason.
        """
        wanted = fingerprint(ROOT, self.context())
        end_leftover_tool(self._state.run)
        self._progress.step("Synthesizing the CDK app")
        self._synthesize()
        if not self._bootstrapped():
            self._progress.step("Bootstrapping the emulated account")
            self._cdk("bootstrap", f"aws://{ACCOUNT}/{REGION}")
        self._progress.step("Deploying the stacks")
        self._cdk("deploy", "--all", "--require-approval", "never")
        locked = object_lock.complete(self._aws)
        if locked:
            self._progress.step(f"Locking objects in {', '.join(locked)}")
        archived = event_archive.complete(self._aws)
        if archived:
            self._progress.step(f"Archiving events in {', '.join(archived)}")
        self._aws.parameters.put_parameter(
            Name=_FINGERPRINT, Value=wanted, Type="String", Overwrite=True
        )

    def _synthesize(self) -> None:
        settings = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))
        context = settings.get("context", {}) | self.context()
        env = environment.synthesis(self._state) | {
            "CDK_CONTEXT_JSON": json.dumps(context),
            "CDK_OUTDIR": str(self._state.assembly),
            # Checks templates against AWS's rules for 7 s; CI does that for every environment.
            "CDK_VALIDATION": "false",
        }
        run_tool(
            [sys.executable, "app.py"],
            env=env,
            run=self._state.run,
            log=self._state.logs / "synth.log",
            title="The synthesis of the CDK app",
        )

    def _bootstrapped(self) -> bool:
        try:
            stacks = self._aws.cloudformation.describe_stacks(StackName="CDKToolkit")["Stacks"]
        except ClientError:
            return False
        return any(stack["StackStatus"] in _DEPLOYED for stack in stacks)

    def _cdk(self, command: str, *arguments: str) -> None:
        run_tool(
            [
                "node",
                str(ROOT / "node_modules" / "aws-cdk" / "bin" / "cdk"),
                command,
                *arguments,
                "--app",
                str(self._state.assembly),
                "--no-notices",
                "--no-version-reporting",
                "--ci",
            ],
            env=environment.bare(self._state) | environment.credentials(self._settings),
            run=self._state.run,
            log=self._state.logs / "deploy.log",
            title=f"`cdk {command}`",
        )


def fingerprint(root: Path, context: Mapping[str, str]) -> str:
    """A hash over every file and setting that the deployment is made from."""
    digest = hashlib.sha256()
    digest.update(json.dumps([sys.version, sys.platform, dict(context)], sort_keys=True).encode())
    for path in _inputs(root):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(
            f"\0{path.relative_to(root)}\0{path.stat().st_mode & 0o111}\0{content}".encode()
        )
    return digest.hexdigest()


def _inputs(root: Path) -> Iterator[Path]:
    for name in _FILES:
        if (root / name).is_file():
            yield root / name
    for tree in _TREES:
        found = (
            path
            for path in (root / tree).rglob("*")
            if path.suffix in _SUFFIXES and "__pycache__" not in path.parts and path.is_file()
        )
        yield from sorted(found)


def end_leftover_tool(run: Path) -> bool:
    """End the tool of a command that was killed: two must not write to one directory.

    Returns whether there was one.
    """
    left = process.find(run, _TOOL)
    if left is not None:
        process.kill(left.identity)
    process.forget(run, _TOOL)
    return left is not None


def run_tool(
    command: Sequence[str], *, env: Mapping[str, str], run: Path, log: Path, title: str
) -> None:
    """Run a tool to its end, in a session of its own that is ended when this command is.

    Raises LocalCloudError with the reason from its output when it fails.
    """
    tool = None
    try:
        with process.uninterrupted():
            tool, start = process.spawn(command, env=env, cwd=ROOT, log=log)
            identity = process.Identity.of(tool.pid)
            if identity:
                process.Record(_TOOL, identity, log, title, start).save(run)
        code = tool.wait(timeout=_TIMEOUT_SECONDS)
    except FileNotFoundError as error:
        raise LocalCloudError(
            f"{title} could not start: {command[0]} is missing.", "Run `make up` again to set up."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise LocalCloudError(
            f"{title} took more than {_TIMEOUT_SECONDS} s.", f"Its log is {log}."
        ) from error
    finally:
        with process.undisturbed():
            end_leftover_tool(run)
            if tool is not None:
                tool.wait()
    if code:
        raise LocalCloudError(f"{title} failed: {reason(log, start)}", f"The whole log is {log}.")


def reason(log: Path, start: int) -> str:
    """The last line of a tool's output that tells why it failed."""
    with log.open("rb") as file:
        file.seek(start)
        lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line]
    telling = [line for line in lines if any(word in line for word in _TELLING)]
    return (telling or lines or ["it said nothing."])[-1][:400]
