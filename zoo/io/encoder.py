"""An encoder as files that anything can read: ``encoder.safetensors`` and ``encoder.json``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.core.archive import first_line, load_tensors
from zoo.core.atomic import atomic_write
from zoo.core.checkpoint import checkpoint_in, head_config, read_checkpoint
from zoo.functional.finetune import interpolate
from zoo.functional.normalisation import check_normalisation
from zoo.networks.encoder import Encoder
from zoo.networks.low_rank import merged

_FORMAT = 1


def save_encoder(encoder: Encoder, directory: str | Path, provenance: dict[str, Any] | None = None) -> Path:
    """Write an encoder's weights, and its configuration to rebuild it.

    Args:
        encoder: Encoder that was built from a spec.
        directory: Folder, which is created if it does not exist.
        provenance: Origin of the weights, in plain values.

    Returns:
        The directory.

    Raises:
        ValueError: the encoder was made from an ``nn.Module`` and has no spec that could be written down.
    """
    description = {"format": _FORMAT, **encoder.get_config(), "provenance": provenance or {}}
    state = merged(encoder.state_dict())
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    directory = Path(directory)
    atomic_write(directory / "encoder.safetensors", lambda path: save_file(tensors, path))
    atomic_write(
        directory / "encoder.json", lambda path: Path(path).write_text(json.dumps(description, indent=2) + "\n")
    )
    return directory


def load_encoder(path: str | Path) -> Encoder:
    """Read an encoder that ``save_encoder`` wrote, or that of any module's checkpoint; in eval mode, on the CPU.

    Args:
        path: Folder with ``encoder.json`` and ``encoder.safetensors``, a checkpoint file, or a run's folder, whose best
            checkpoint it is.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, holds no encoder, or has weights that do not fit its network.
    """
    path = checkpoint_in(path)
    description, weights = (_from_folder if path.is_dir() else _from_checkpoint)(path)
    try:
        if description.get("format", _FORMAT) != _FORMAT:
            raise ValueError(f"format {description['format']} is not known here")
        check_normalisation(description["normalisation"])
        with torch.device("meta"):  # sizes, before anything takes memory
            sizes = Encoder.from_config(description).state_dict()
    except Exception as error:  # networks of damaged descriptions raise many exception types
        raise ValueError(f"the encoder in {path} cannot be read: {first_line(error)}") from error
    check_fit(sizes, weights, str(path))
    encoder = Encoder.from_config(description)
    encoder.load_state_dict(weights)
    return encoder.eval()


def _from_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    files = [folder / f"encoder.{end}" for end in ("json", "safetensors")]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"no encoder in {folder}: {file.name} is missing")
    try:
        return dict(json.loads(files[0].read_text(encoding="utf-8"))), load_tensors(files[1])
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise ValueError(f"the encoder in {folder} cannot be read: {first_line(error)}") from error


def _from_checkpoint(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not file.exists():
        raise FileNotFoundError(f"no encoder at {file}: there is neither such a folder nor such a checkpoint")
    checkpoint = read_checkpoint(file)
    description = checkpoint.get("zoo", {}).get("encoder")
    if description is None:
        raise ValueError(f"{file} holds no encoder: its module has none, or has one made from an nn.Module")
    return description, merged(submodule_state_dict(checkpoint, "encoder"))


def submodule_state_dict(checkpoint: dict[str, Any], name: str) -> dict[str, Tensor]:
    """State dict of one of a module's submodules; with WiSE-FT interpolated between initial and trained weights."""
    state, share = checkpoint["state_dict"], (head_config(checkpoint) or {}).get("wise_ft", 1.0)
    trained, start = (
        {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        for prefix in (f"{name}.", f"start.{name}.")
    )
    return interpolate(start, trained, share) if share < 1 and start else trained


def load_state_dict_strict(network: nn.Module, weights: dict[str, Tensor], origin: str) -> None:
    """Load weights of exactly the network's names and shapes.

    Args:
        network: Network to load them into.
        weights: Weights by name.
        origin: Name of the weights' source in messages.

    Raises:
        ValueError: names are missing or unexpected, or shapes differ; names the first few, and the likely cause.
    """
    check_fit(network.state_dict(), weights, origin)
    network.load_state_dict(weights)


def check_fit(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], origin: str) -> None:
    """Refuse weights of other names or shapes than a network's own, as ``load_state_dict_strict`` does."""
    wrong = {
        "missing": [name for name in own if name not in weights],
        "unexpected": [name for name in weights if name not in own],
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} for {tuple(value.shape)}"
            for name, value in own.items()
            if name in weights and weights[name].shape != value.shape
        ],
    }
    if not any(wrong.values()):
        return
    found = "; ".join(
        f"{len(names)} {kind}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
        for kind, names in wrong.items()
        if names
    )
    cause = "they are of another network" if wrong["missing"] else "the network has other sizes or fewer layers"
    raise ValueError(
        f"the weights in {origin} do not fit the network ({found}): {cause}, or were made by other options"
    )
