"""Files that are written atomically: to a temporary file in the same folder, which is then renamed."""

import os
from collections.abc import Callable
from pathlib import Path


def atomic_write(path: str | Path, write: Callable[[str], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, flush it to the disk, then rename it; a failure leaves none.

    Raises:
        OSError: raised by ``write`` or the disk; an earlier file at ``path`` is untouched.
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
