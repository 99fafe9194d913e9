"""What the services have written, from the emulated CloudWatch and from files."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from localcloud.aws import Aws
from localcloud.errors import LocalCloudError
from localcloud.settings import LocalSettings
from localcloud.state import StateDirectory

_POLL_SECONDS = 1.0
_OWN = {"cloud": "ministack.log", "door": "door.log", "deploy": "deploy.log", "synth": "synth.log"}


class Logs:
    """The logs of one service, or of a part of the local cloud itself."""

    def __init__(self, settings: LocalSettings, name: str) -> None:
        self._state = StateDirectory(settings.state)
        self._aws = Aws(settings.endpoint)
        known = [service.name for service in settings.services]
        if name not in known and name not in _OWN:
            raise LocalCloudError(
                f"There is no service {name}.", f"Choose one of {', '.join([*known, *_OWN])}."
            )
        self._name = name
        self._offsets: dict[Path, int] = {}
        self._seen: dict[str, int] = {}

    def show(self, *, lines: int, follow: bool) -> None:
        """Print the last lines of each log, then, when asked, what is added to them."""
        for path in self._files():
            text = path.read_text(encoding="utf-8", errors="replace")
            _print(path.stem, _last(lines, self._of_service(path, text.splitlines())))
            self._offsets[path] = len(text.encode())
        try:
            for group in self._groups():
                _print(group, _last(lines, list(self._events(group))))
        except (ClientError, BotoCoreError):
            print("The local cloud does not answer; these are the logs in files.", flush=True)
        while follow:
            time.sleep(_POLL_SECONDS)
            self._show_new()

    def _show_new(self) -> None:
        for path in self._files():
            with path.open("rb") as file:
                # A log that was put aside begins anew.
                if self._offsets.get(path, 0) <= file.seek(0, os.SEEK_END):
                    file.seek(self._offsets.get(path, 0))
                else:
                    file.seek(0)
                added = file.read().decode("utf-8", "replace").splitlines()
                self._offsets[path] = file.tell()
            _print(path.stem, self._of_service(path, added))
        try:
            for group in self._groups():
                _print(group, list(self._events(group)))
        except (ClientError, BotoCoreError):
            return

    def _of_service(self, path: Path, lines: list[str]) -> list[str]:
        """The front door writes one log for all services."""
        if self._name in _OWN or path.name != _OWN["door"]:
            return lines
        return [line for line in lines if f'"service": "{self._name}"' in line]

    def _files(self) -> list[Path]:
        logs = self._state.logs
        if self._name in _OWN:
            found = [logs / _OWN[self._name]]
        else:
            found = [*sorted(logs.glob(f"santaclaude-local-{self._name}-*.log")), logs / "door.log"]
        return [path for path in found if path.exists() and not path.name.endswith(".old.log")]

    def _groups(self) -> list[str]:
        if self._name in _OWN:
            return []
        prefixes = (
            f"/aws/lambda/santaclaude-local-{self._name}-",
            f"/santaclaude/access/santaclaude-local-{self._name}",
        )
        client = self._aws.client("logs")
        return [
            group["logGroupName"]
            for prefix in prefixes
            for page in client.get_paginator("describe_log_groups").paginate(
                logGroupNamePrefix=prefix
            )
            for group in page["logGroups"]
        ]

    def _events(self, group: str) -> Iterator[str]:
        pages = (
            self._aws.client("logs")
            .get_paginator("filter_log_events")
            .paginate(logGroupName=group, startTime=self._seen.get(group, 0))
        )
        for page in pages:
            for event in page["events"]:
                self._seen[group] = max(self._seen.get(group, 0), event["timestamp"] + 1)
                yield event["message"].rstrip("\n")


def _last(count: int, lines: list[str]) -> list[str]:
    return lines[max(len(lines) - count, 0) :]


def _print(source: str, lines: list[str]) -> None:
    name = source.rpartition("/")[2].removeprefix("santaclaude-local-")
    for line in lines:
        print(f"{name} | {line}", flush=True)
