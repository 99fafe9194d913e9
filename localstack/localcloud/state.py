"""Where the local cloud keeps what it keeps."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localcloud.errors import LocalCloudError
from localcloud.settings import ROOT

_MARKER = ".santaclaude-local-cloud"
# A first deployment takes about 300 MB: bundled layers, their copies and unpacked code.
_FREE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class StateDirectory:
    """The layout of the state directory. Only its owner can read it: provider keys may be in it."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def cloud(self) -> Path:
        return self.root / "cloud"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def home(self) -> Path:
        """HOME of the processes of the cloud: nothing of the person's own is read there."""
        return self.root / "home"

    @property
    def assembly(self) -> Path:
        return self.root / "cdk.out"

    @property
    def streaming(self) -> Path:
        return self.root / "streaming"

    def create(self) -> None:
        """Make the directory and its parts, and check that the disk has room.

        The default directory is ours whatever is in it: the Makefile keeps Node's cache there.
        Raises LocalCloudError when it has not, when the directory holds something else, or when it
        cannot be made.
        """
        try:
            self._create()
        except OSError as error:
            raise LocalCloudError(
                f"LOCAL_STATE_DIR: {error.filename or self.root} cannot be used: {error.strerror}.",
                "Set it to a directory that is yours to write.",
            ) from error

    def _create(self) -> None:
        if self.root != ROOT / ".local" and not self.exists() and _holds_files(self.root):
            raise LocalCloudError(
                f"{self.root} holds files that are not the local cloud's.",
                "Set LOCAL_STATE_DIR to a directory of its own.",
            )
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root.chmod(0o700)
        (self.root / _MARKER).touch()
        for part in (self.logs, self.run, self.cloud, self.tmp, self.home, self.streaming):
            part.mkdir(exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if free < _FREE_BYTES:
            raise LocalCloudError(
                f"{free // 1_000_000} MB are free in {self.root}, {_FREE_BYTES // 1_000_000} MB "
                "are needed.",
                "Free some, or set LOCAL_STATE_DIR elsewhere.",
            )

    def exists(self) -> bool:
        """Whether this is a state directory of the local cloud."""
        return (self.root / _MARKER).exists()

    def clear_tmp(self) -> None:
        """Remove what emulated functions left behind; nothing may be running."""
        shutil.rmtree(self.tmp, ignore_errors=True)
        self.tmp.mkdir(exist_ok=True)

    def remove(self) -> None:
        """Remove everything but the lock, which the caller holds."""
        for entry in self.root.iterdir():
            if entry == self.lock or entry.name == _MARKER:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _holds_files(directory: Path) -> bool:
    return directory.exists() and any(directory.iterdir())


def write_json(path: Path, value: Any) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(value, indent=1, sort_keys=True), encoding="utf-8")
    part.replace(path)


def read_json(path: Path) -> Any:
    """The file's value; None when there is none or it is cut short."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
