"""What an earlier process left on the disk: profiles, downloads and crash dumps of browsers."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

PATTERNS = ("playwright*", "chromium-*", ".org.chromium.*", "com.google.Chrome.*", "core.*")


def sweep(folder: Path | None = None) -> int:
    """Removes them; how many there were. For a machine that one function has to itself."""
    folder = folder or Path(tempfile.gettempdir())
    swept = 0
    for pattern in PATTERNS:
        for path in folder.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            swept += 1
    return swept
