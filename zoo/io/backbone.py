"""Encoders to build on: learned here, learned elsewhere, or a network from scratch."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from zoo.io.encoder import load_encoder
from zoo.io.library_weights import load_weights
from zoo.networks.encoder import Encoder, checked_shape
from zoo.networks.library import LibraryTrunk
from zoo.networks.spec import TRUNKS, Spec


def load_backbone(
    backbone: Spec | nn.Module,
    input_shape: Sequence[int] | None,
    normalisation: dict[str, Any] | None = None,
    drop_head: bool = True,
    weights: str = "default",
    owner: str = "backbone",
) -> tuple[Encoder, str]:
    """An encoder and, in a few words, where its weights are from ("" where they are untrained).

    Args:
        backbone: a folder that ``save_encoder`` wrote, or any module's checkpoint; an ``Encoder``, as a trained module
            has it, which is copied; the description that this function's encoder gives of itself
            (``Encoder.get_config``); a classifier of torchvision (``resnet18``) or timm (``timm:NAME``); or another
            network's spec, which is built untrained.
        input_shape: of the data.
        normalisation: of the data, for an untrained network.
        weights: of torchvision and timm: "default" are the library's own, "none" none, anything else a file.
        drop_head: leave a trained encoder's last linear layer away, which served the task it was trained for.
        owner: what messages call it.

    Raises:
        FileNotFoundError: there is no such folder or checkpoint.
        ValueError: it holds no encoder, or one that does not fit the data; an unknown network.
    """
    shape = checked_shape(input_shape)
    if isinstance(backbone, Mapping) and "network" in backbone:
        encoder, origin = Encoder.from_config(backbone), str(backbone.get("origin", ""))
    elif isinstance(backbone, Encoder):
        encoder, origin = copy.deepcopy(backbone).requires_grad_(True), "an encoder in memory"
        encoder = without_head(encoder) if drop_head else encoder
    elif isinstance(backbone, str) and _is_path(backbone):
        encoder, origin = load_encoder(backbone), backbone
        encoder = without_head(encoder) if drop_head else encoder
    else:
        encoder, origin = Encoder(_spec(backbone, shape), shape, None, normalisation), ""
        if isinstance(encoder.trunk, LibraryTrunk) and weights != "none":
            origin = load_weights(encoder, weights)
    check_input(encoder, shape, normalisation, owner)
    return encoder, origin


def _is_path(text: str) -> bool:
    if not text or text.partition(":")[0] in TRUNKS:
        return False
    return text.endswith(".ckpt") or "/" in text or Path(text).exists()


def _spec(backbone: Any, shape: tuple[int, ...]) -> Any:
    if not backbone:
        return "conv" if len(shape) == 3 else "mlp"
    if isinstance(backbone, str) and backbone not in TRUNKS and ":" not in backbone:
        from torchvision import models

        return f"torchvision:{backbone}" if backbone in models.list_models(module=models) else backbone
    return backbone


def without_head(encoder: Encoder) -> Encoder:
    """The same trunk, whose features are then what the encoder gives."""
    if encoder.output_dim is None:
        return encoder
    bare = Encoder(encoder.trunk, encoder.input_shape, None, encoder.normalisation)
    bare.spec = encoder.spec
    return bare


def _fitting_options(wanted: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """What to say of pictures (C, H, W) of another shape than is wanted; not all data have these options."""
    if len(wanted) != 3 or len(shape) != 3:
        return ""
    options = [f"--data.channels {wanted[0]}"] * (wanted[0] != shape[0])
    options += [f"--data.size {wanted[2]}"] * (wanted[1:] != shape[1:])
    return f" ({' '.join(options)}?)"


def check_input(
    encoder: Encoder, shape: tuple[int, ...], normalisation: dict[str, Any] | None, owner: str = "backbone"
) -> None:
    """Refuse data that are not what the encoder was trained on.

    Values between 0 and 1 as they came (``normalisation`` None) fit any encoder, which does then to them what it needs.

    Raises:
        ValueError: another shape, or another normalisation; says both.
    """
    if tuple(encoder.input_shape) != shape:
        raise ValueError(
            f"the {owner} takes inputs of shape {tuple(encoder.input_shape)}, the data have {shape}"
            + _fitting_options(tuple(encoder.input_shape), shape)
        )
    if normalisation not in (None, encoder.normalisation):
        raise ValueError(
            f"the {owner} was trained on inputs normalised by {encoder.normalisation or 'nothing'}, the data are "
            f"normalised by {normalisation}: leave them as they are (--data.normalise unit, "
            f"or of tables --data.standardise false): the {owner} brings its own"
        )
