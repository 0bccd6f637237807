"""Weights in the layout of torchvision and timm, read and written."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.core.archive import check_state, first_line, load_archive, load_tensors
from zoo.core.atomic import atomic_write
from zoo.functional.normalisation import check_normalisation
from zoo.io.encoder import load_state_dict_strict
from zoo.networks.encoder import Encoder
from zoo.networks.library import LibraryTrunk
from zoo.networks.low_rank import merged


def load_weights(encoder: Encoder, weights: str = "default") -> str:
    """Load weights into an encoder of torchvision or timm, and set the normalisation that they need.

    Args:
        encoder: Encoder whose trunk is the library's.
        weights: Weights: "default", the library's own, downloaded once; or a file in its layout, .pth or .safetensors.
            A .safetensors file by ``save_state`` holds its normalisation; any other is taken to need the library's own.

    Returns:
        Origin of the weights.

    Raises:
        ValueError: they cannot be downloaded or read, or do not fit.
        FileNotFoundError: there is no such file.
    """
    trunk = encoder.trunk
    if not isinstance(trunk, LibraryTrunk):
        raise ValueError(f"weights are for networks of torchvision and timm; got {encoder.spec!r}")
    name = f"{trunk.library}:{trunk.arch}"
    state = _download(trunk, name) if weights == "default" else _read(Path(weights))
    load_state_dict_strict(trunk.model, trunk.own_names(state), name if weights == "default" else weights)
    encoder.normalisation = trunk.normalisation()
    if weights != "default":
        encoder.normalisation = _said(Path(weights), encoder.normalisation)
    return name if weights == "default" else weights


def _download(trunk: LibraryTrunk, name: str) -> dict[str, Tensor]:
    try:
        return trunk.download()
    except Exception as error:  # libraries and downloads raise many exception types
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"the weights of {name} could not be downloaded ({reason}): name a file that has them "
            "(`weights` FILE), or train from scratch (`weights` none)"
        ) from error


def _said(file: Path, default: dict[str, Any] | None) -> dict[str, Any] | None:
    """The normalisation in a file's metadata, or the default where nothing is said of it."""
    if file.suffix != ".safetensors":
        return default
    with safe_open(file, "pt") as opened:
        said = (opened.metadata() or {}).get("normalisation")
    try:
        return default if said is None else check_normalisation(json.loads(said))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: its normalisation cannot be read: {first_line(error)}") from error


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise FileNotFoundError(f"no weights at {file}")
    found: Any = load_tensors(file) if file.suffix == ".safetensors" else load_archive(file, "file of weights")
    for key in ("state_dict", "model"):  # as training scripts often save them
        found = found.get(key, found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{file} holds no weights by name")
    check_state(file, found)
    return {key.removeprefix("module."): value for key, value in found.items()}


def save_state(encoder: Encoder, path: str | Path, head: nn.Linear | None = None) -> Path:
    """Write weights under torchvision's or timm's names, for the library's own ``load_state_dict``.

    A .safetensors file has the encoder's normalisation in its metadata, as JSON. Where images are grey, the library's
    network takes them repeated in three channels.

    Args:
        encoder: Encoder whose trunk is the library's.
        path: Path of a .safetensors or .pth file.
        head: Linear layer written as the library's last layer; None writes the encoder's own, if it has one.

    Raises:
        ValueError: another network, another suffix, or more than one linear layer after the features.
    """
    trunk, path = encoder.trunk, Path(path)
    if not isinstance(trunk, LibraryTrunk):
        raise ValueError(f"{encoder.spec!r} is no network of torchvision or timm: its weights have no layout there")
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise ValueError(f"weights are written as .safetensors or .pth; got {path.name}")
    state = merged(trunk.model.state_dict())
    last = _only_layer(encoder, head)
    if last is not None:
        layer = merged(last.state_dict())
        state |= {f"{trunk.classifier}.{name}": value for name, value in layer.items()}
        load_state_dict_strict(trunk.whole(len(layer["weight"])), state, "the network and its head")
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    if path.suffix == ".safetensors":
        metadata = {"format": "pt", "normalisation": json.dumps(encoder.normalisation)}
        atomic_write(path, lambda tmp_path: save_file(tensors, tmp_path, metadata))
    else:
        atomic_write(path, lambda tmp_path: torch.save(tensors, tmp_path))
    return path


def _only_layer(encoder: Encoder, head: nn.Linear | None) -> nn.Module | None:
    """The layer after the trunk: one linear layer or none, since the libraries have no place for more."""
    if isinstance(encoder.head, nn.Identity):
        return head
    if head is not None or not isinstance(encoder.head, nn.Linear):
        raise ValueError("torchvision and timm have a place for one linear layer after the features; here is more")
    return encoder.head
