"""An encoder, or a checkpoint's, as files of other tools: what the command ``export`` does."""

from pathlib import Path
from typing import Any

from torch import nn

from zoo.core.checkpoint import checkpoint_in, head_config, read_checkpoint
from zoo.io.encoder import load_encoder, save_encoder, submodule_state_dict
from zoo.io.library_weights import save_state
from zoo.io.onnx import save_onnx
from zoo.networks.encoder import Encoder

FILES = {"encoder": "encoder", "onnx": "encoder.onnx", "state": "state.safetensors"}  # their names, by format
WITH_HEAD = {"classification": "classifier.onnx", "multilabel": "classifier.onnx", "regression": "regressor.onnx"}


def export(source: str, form: str, out: str | None = None) -> Path:
    """Write the encoder in a folder or checkpoint, with a checkpoint's linear head if there is one, in another format:
    the command ``export``.

    Args:
        source: Folder that ``save_encoder`` wrote, any module's checkpoint, or a run's folder, whose best it is.
        form: Format: "encoder", "onnx" or "state".
        out: Path to write to; None is a default name beside the source.

    Raises:
        FileNotFoundError, ValueError: as ``load_encoder`` and the writing functions.
    """
    encoder = load_encoder(source)
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    source = str(checkpoint_in(source))
    head, names, task = (None, [], "") if form == "encoder" else _head(source, encoder)
    name = WITH_HEAD.get(task, "model.onnx") if form == "onnx" and head else FILES[form]
    path = Path(out) if out else folder / name
    if form == "encoder":
        return save_encoder(encoder, path, {"exported_from": source})
    if form == "state":
        return save_state(encoder, path, head)
    return save_onnx(encoder, path, head, class_names=names, task=task)


def _head(source: str, encoder: Encoder) -> tuple[nn.Linear | None, list[str], str]:
    """A checkpoint's linear layer on the encoder's features, in the target's units, its classes' names, its task."""
    if Path(source).is_dir():
        return None, [], ""
    checkpoint: dict[str, Any] = read_checkpoint(source)
    config, found = head_config(checkpoint), submodule_state_dict(checkpoint, "head")
    weight, bias = found.get("weight"), found.get("bias")
    if weight is None or bias is None:
        return None, [], ""
    if weight.shape[1] != (encoder.output_dim or encoder.feature_dim):
        return None, [], ""
    std, mean = (checkpoint["state_dict"].get(f"target_{name}") for name in ("std", "mean"))
    if std is not None and mean is not None:  # of a regression, whose head gives standardised values; else 1 and 0
        weight, bias = weight * std.unsqueeze(1), bias * std + mean
    head = nn.Linear(weight.shape[1], len(weight))
    head.load_state_dict({"weight": weight, "bias": bias})
    options = config or checkpoint.get("hyper_parameters", {})
    return head, list(options.get("class_names") or []), str(options.get("task") or "classification")
