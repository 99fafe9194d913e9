"""What functions and layers are made of, built with uv for the platform they run on.

Code and dependencies are different bundles. A bundle's fingerprint is made from what goes in
(sources or lock file, target platform, interpreter), so an unchanged one is neither built nor
uploaded again. Nothing here needs the CDK.
"""

import compileall
import hashlib
import os
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMON_LOCK = "layers/common/requirements.txt"

# Bump when the rules below change what a bundle holds.
_FORMAT = "2"
_SOURCE_SUFFIXES = frozenset({".py", ".json", ".sh"})
_CONTAINER_TASK_ROOT = "/var/task"

# botocore ships a model of every AWS service (25 MB): a bundle keeps those that the services call.
_BOTOCORE_MODELS = frozenset(
    {
        "apigatewaymanagementapi",
        "athena",
        "bedrock-runtime",
        "cloudwatch",
        "dynamodb",
        "events",
        "firehose",
        "kms",
        "lambda",
        "s3",
        "secretsmanager",
        "sqs",
        "ssm",
        "sso",
        "sso-oidc",
        "sts",
    }
)


class BundlingError(RuntimeError):
    """A bundle could not be built; the message holds uv's last lines."""


@dataclass(frozen=True)
class Platform:
    """Where a bundle runs. `uv_platform` None means the machine that synthesizes."""

    python: str
    uv_platform: str | None

    @property
    def bytecode(self) -> bool:
        """Whether this interpreter's bytecode is that of the target."""
        return self.python == _running_python()

    def fingerprint(self) -> bytes:
        """Of what a bundle for it holds, bytecode or none included."""
        return f"{_FORMAT} {self!r} bytecode={self.bytecode}".encode()


def _running_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


# Lambda's python3.13 runtime is Amazon Linux 2023 (glibc 2.34).
LAMBDA = Platform(python="3.13", uv_platform="aarch64-manylinux_2_28")
NATIVE = Platform(python=_running_python(), uv_platform=None)


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _sources(folder: Path) -> Iterator[Path]:
    """Source files inside packages; generated documents beside them are not shipped."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in _SOURCE_SUFFIXES and (path.parent / "__init__.py").is_file():
            yield path


def _compile(folder: Path, platform: Platform) -> None:
    """Bytecode that holds neither times nor paths of this machine, so that bundles are alike."""
    if not platform.bytecode:
        return
    compileall.compile_dir(
        folder,
        quiet=2,
        stripdir=str(folder),
        prependdir=_CONTAINER_TASK_ROOT,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


@dataclass(frozen=True)
class SourceBundle:
    """Python sources under `folders` of the repository, laid out as they stand below `base`."""

    folders: tuple[str, ...]
    platform: Platform
    base: str = "."

    @property
    def source(self) -> Path:
        return ROOT / self.folders[0]

    def _files(self) -> Iterator[tuple[Path, Path]]:
        base = ROOT / self.base
        packages: set[Path] = set()
        for folder in self.folders:
            for path in _sources(ROOT / folder):
                yield path, path.relative_to(base)
            packages.update((ROOT / folder).relative_to(base).parents)
        for package in sorted(packages):
            init = base / package / "__init__.py"
            if init.is_file():
                yield init, init.relative_to(base)

    def fingerprint(self) -> str:
        """Hash of every source file's place and content, and of the target."""
        parts = [self.platform.fingerprint()]
        for path, place in self._files():
            parts += [str(place).encode(), path.read_bytes()]
        return _digest(parts)

    def build(self, output: Path) -> None:
        """Copy the sources and add their bytecode."""
        for path, place in self._files():
            target = output / place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            target.chmod(0o755 if path.suffix == ".sh" else 0o644)
        _compile(output, self.platform)


@dataclass(frozen=True)
class DependencyBundle:
    """The packages of one lock file, without those of `provided` (another bundle's lock)."""

    lock: str
    platform: Platform
    provided: str | None = None
    prefix: str = "python"

    @property
    def source(self) -> Path:
        return (ROOT / self.lock).parent

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            input=self.requirements(),
            text=True,
            capture_output=True,
            env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
            check=False,
        )

    def requirements(self) -> str:
        """The lock's entries, less those that the other bundle ships already."""
        entries = _lock_entries((ROOT / self.lock).read_text())
        if self.provided:
            provided = _lock_entries((ROOT / self.provided).read_text())
            entries = {name: text for name, text in entries.items() if name not in provided}
        return "".join(entries.values())

    def fingerprint(self) -> str:
        """Hash of what is to be installed, of the target, and of what is left out."""
        models = ",".join(sorted(_BOTOCORE_MODELS))
        parts = (self.prefix, models, self.requirements())
        return _digest([self.platform.fingerprint(), *(part.encode() for part in parts)])

    def build(self, output: Path) -> None:
        """Install, remove what no function reads, add bytecode. Raises BundlingError."""
        target = output / self.prefix
        self.install(target)
        _prune(target)
        _compile(target, self.platform)

    def install(self, target: Path) -> None:
        """Install with uv for the target platform from wheels alone. Raises BundlingError."""
        command = [
            _uv(), "pip", "install", "--quiet", "--no-deps", "--require-hashes",
            "--target", str(target), "--only-binary", ":all:",
            "--python", sys.executable, "--python-version", self.platform.python,
            "--link-mode", "copy", "-r", "-",
        ]  # fmt: skip
        if self.platform.uv_platform:
            command += ["--python-platform", self.platform.uv_platform]
        # What was fetched before needs no network; set-up has fetched what a synth asks for.
        result = self._run([*command, "--offline"])
        if result.returncode:
            shutil.rmtree(target, ignore_errors=True)
            result = self._run(command)
        if result.returncode:
            reason = result.stderr.strip()[-2000:]
            raise BundlingError(f"uv could not install {self.lock}: {reason}")


def _lock_entries(text: str) -> dict[str, str]:
    """A lock file's requirement entries by package name, comments left out."""
    entries: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if line[0].isalnum():
            name = line.split("==", 1)[0]
            entries[name] = line
        elif line.lstrip().startswith("--hash"):
            entries[name] += line
    return entries


def _prune(target: Path) -> None:
    """Remove what no function reads: console scripts, install records, models of other services."""
    shutil.rmtree(target / "bin", ignore_errors=True)
    (target / ".lock").unlink(missing_ok=True)
    for record in target.glob("*.dist-info/RECORD"):
        record.unlink()
    data = target / "botocore" / "data"
    for model in data.glob("*/"):
        if model.name not in _BOTOCORE_MODELS:
            shutil.rmtree(model)


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if not found:
        raise BundlingError("uv is missing: run `python3 localstack/environment.py`")
    return found


Bundle = SourceBundle | DependencyBundle
