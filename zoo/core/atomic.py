"""Files that are whole or not there: written beside their place, then renamed."""

import os
from collections.abc import Callable
from pathlib import Path


def atomic_write(path: str | Path, write: Callable[[str], object]) -> None:
    """Have ``write`` fill a file beside ``path``, flush it to the disk, then rename it; on failure nothing is left.

    Raises:
        OSError: what ``write`` or the disk raised; what stood at ``path`` before is still there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp_path = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(str(tmp_path))
        with tmp_path.open("rb") as file:
            os.fsync(file.fileno())
        tmp_path.replace(path)
    finally:
        tmp_path.unlink(missing_ok=True)
