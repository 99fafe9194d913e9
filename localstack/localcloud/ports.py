"""Whether a port is free, and who holds it if not."""

import shutil
import socket
import subprocess
from pathlib import Path

from localcloud.errors import LocalCloudError

LOOPBACK = ("127.0.0.1", "::1")


def require_free(port: int, *, variable: str, purpose: str) -> None:
    """Raise LocalCloudError when something on this machine listens on the port."""
    if _is_free(port):
        return
    holder = _holder(port)
    by = f" by {holder}" if holder else ""
    raise LocalCloudError(
        f"Port {port}, for {purpose}, is taken{by}.",
        f"Stop that, or set {variable} to another port.",
    )


def _is_free(port: int) -> bool:
    for host in LOOPBACK:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except PermissionError:
            return True
        except OSError:
            if host == LOOPBACK[0] or _answers(host, port):
                return False
    return True


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _holder(port: int) -> str | None:
    """Process and name, where this machine and this user may know."""
    if Path("/proc/net/tcp").exists():
        return _holder_from_proc(port)
    if shutil.which("lsof") is None:
        return None
    listing = subprocess.run(
        ["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    ).stdout.splitlines()
    fields = {line[0]: line[1:] for line in listing if line}
    return f"process {fields['p']} ({fields.get('c', '?')})" if "p" in fields else None


def _holder_from_proc(port: int) -> str | None:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        path = Path(table)
        if not path.exists():
            continue
        for line in path.read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(file.readlink()) in inodes for file in (process / "fd").iterdir()):
                name = (process / "comm").read_text(encoding="utf-8").strip()
                return f"process {process.name} ({name})"
        except OSError:
            continue
    return None
