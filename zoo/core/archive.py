"""Files of tensors, read without executing code in them, nor taking more memory than their size accounts for."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

_SMALL = 2**28  # bytes that a tensor may take though its file is smaller: it may repeat what the file has once


def load_archive(path: str | Path, what: str = "checkpoint") -> Any:
    """Tensors and plain values of a file that ``torch.save`` wrote, on the CPU.

    Args:
        path: Path of the file.
        what: Name in messages of what it should be.

    Raises:
        ValueError: the file is no such one, is damaged, or holds more than tensors and plain values; names it.
    """
    try:
        if zipfile.is_zipfile(path):
            _check_sizes(Path(path))
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} is not loaded: it is no {what}, or holds objects that would run code") from error
    except Exception as error:  # torch.load raises many exception types on files that are not its own
        raise ValueError(f"{path} is damaged or no {what}: {first_line(error)}") from error


def _check_sizes(path: Path) -> None:
    """Refuse archives of which more would come out than is in: torch compresses nothing."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise ValueError("its parts are compressed, as torch never does")
    if sum(part.file_size for part in parts) > path.stat().st_size:
        raise ValueError("its parts are said to be larger than the file")


def load_tensors(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors file by name, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged; names it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises many exception types, by the kind of damage
        raise ValueError(f"{path} cannot be read: {first_line(error)}") from error


def check_state(path: str | Path, state: Any) -> dict[str, Tensor]:
    """Refuse what is no mapping of names to tensors, and tensors that claim to be much larger than their file.

    Raises:
        ValueError: names the file and what is wrong.
    """
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ValueError(f"{path} is damaged: its state_dict is no mapping of names to tensors")
    most = max(_SMALL, Path(path).stat().st_size)
    for name, value in state.items():
        if not isinstance(value, Tensor):
            if name.endswith("_extra_state"):  # torch's name for what a network adds to its tensors
                continue
            raise ValueError(f"{path} is damaged: {name} is no tensor, but of type {type(value).__name__}")
        if value.nbytes > most:
            raise ValueError(f"{path} is damaged: {name} of shape {tuple(value.shape)} is larger than the file")
    return state


def first_line(error: BaseException) -> str:
    """What went wrong, in one line: the kind of error where it says nothing, or no more than a name."""
    text = (str(error).strip().splitlines() or [""])[0]
    return text if " " in text else f"{type(error).__name__} {text}".strip()
