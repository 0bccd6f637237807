"""NumPy's .npy and .npz: sizes are checked against the file before anything is allocated, and no pickle is read."""

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

_RATIO = 1100  # deflate packs a thousandfold at most


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name; a .npy file has one, "".

    Raises:
        ValueError: the file is damaged, promises more than it holds, or has arrays that are not plain; names it.
    """
    size = path.stat().st_size
    if not size:
        raise ValueError(f"{path} is empty: it has 0 bytes")
    try:
        if zipfile.is_zipfile(path):
            return _packed(path, size)
        with path.open("rb") as file:
            return {"": _plain(file, size)}
    except Exception as error:  # zipfile and NumPy raise many types on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be read: {reason}") from error


def _packed(path: Path, size: int) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        for info in members:
            if info.file_size > _RATIO * (info.compress_size + 1) or info.compress_size > size:
                raise ValueError(f"{info.filename} promises {info.file_size:,} bytes of {info.compress_size:,} packed")
        found = {}
        for info in members:
            with archive.open(info) as file:
                found[info.filename.removesuffix(".npy")] = _plain(file, info.file_size)
        return found


def _plain(file: IO[bytes], size: int) -> np.ndarray:
    """An array of ``size`` bytes, its header included."""
    version = np.lib.format.read_magic(file)
    readers: dict[Any, Any] = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError("not an array of plain numbers")
    shape, in_columns, dtype = readers[version](file)
    if dtype.hasobject or dtype.names:
        raise ValueError("not an array of plain numbers: it holds objects, which are not read")
    if not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"it has a shape that is none, {shape}")
    there, wanted = size - file.tell(), math.prod(shape) * dtype.itemsize
    if there != wanted:
        raise ValueError(f"its header promises {wanted:,} bytes of {dtype} {shape}, and there are {there:,}")
    data = bytearray(file.read(wanted + 1))  # one more: only at its end a packed file's checksum is compared
    return np.ndarray(shape, dtype, buffer=data, order="F" if in_columns else "C")
