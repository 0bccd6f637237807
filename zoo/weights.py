"""Weights that others trained, for networks of theirs."""

import json
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from zoo.export import fill
from zoo.networks.encoder import Encoder
from zoo.networks.others import LibraryTrunk


def load_weights(encoder: Encoder, weights: str = "default") -> str:
    """Fill an encoder of torchvision or timm, and have it normalise its inputs as its weights need it.

    Args:
        encoder: whose trunk is theirs.
        weights: "default", the library's own, downloaded once; or a file in its layout, .pth or .safetensors. A
            .safetensors file by ``save_state`` says its normalisation; any other is taken to need the library's own.

    Returns:
        Where they are from.

    Raises:
        ValueError: they cannot be downloaded or read, or do not fit.
        FileNotFoundError: there is no such file.
    """
    trunk = encoder.trunk
    if not isinstance(trunk, LibraryTrunk):
        raise ValueError(f"weights are for networks of torchvision and timm; got {encoder.spec!r}")
    name = f"{trunk.library}:{trunk.arch}"
    state = _download(trunk, name) if weights == "default" else _read(Path(weights))
    fill(trunk.model, trunk.own_names(state), name if weights == "default" else weights)
    said = None if weights == "default" else _said(Path(weights))
    encoder.normalisation = trunk.normalisation() if said is None else json.loads(said)
    return name if weights == "default" else weights


def _download(trunk: LibraryTrunk, name: str) -> dict[str, Tensor]:
    try:
        return trunk.download()
    except Exception as error:  # every library, and every way to fail on the way, has exceptions of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"the weights of {name} could not be downloaded ({reason}): name a file that has them "
            "(--model.weights FILE), or begin without (--model.weights none)"
        ) from error


def _said(file: Path) -> str | None:
    """The normalisation in a file's metadata, as JSON, where there is one."""
    if file.suffix != ".safetensors":
        return None
    with safe_open(file, "pt") as opened:
        return (opened.metadata() or {}).get("normalisation")


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise FileNotFoundError(f"no weights at {file}")
    try:
        found = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{file} is damaged, or holds more than weights: {str(error).splitlines()[0]}") from error
    for key in ("state_dict", "model"):  # as training scripts like to save them
        found = found.get(key, found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{file} holds no weights by name")
    return {key.removeprefix("module."): value for key, value in found.items()}
