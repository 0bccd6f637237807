"""Files that are whole or not there: written beside their place, then renamed."""

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: str | Path, write: Callable[[str], object]) -> None:
    """Have ``write`` fill a file beside ``path``, flush it to the disk, then rename it; on failure nothing is left.

    Raises:
        OSError: what ``write`` or the disk raised; what stood at ``path`` before is still there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(str(beside))
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
