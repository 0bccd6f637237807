"""Encoders to build on: trained here, trained elsewhere, or a network from scratch."""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from zoo.core.suggest import closest
from zoo.functional.normalisation import changes_values, column_names, same_normalisation
from zoo.io.encoder import load_encoder
from zoo.io.library_weights import load_weights
from zoo.networks.encoder import Encoder, checked_shape
from zoo.networks.library import LibraryTrunk, timm_names
from zoo.networks.spec import RENAMED, TRUNKS, Spec


class _Request(NamedTuple):
    """Arguments of ``resolve_backbone`` beside the source."""

    shape: tuple[int, ...]
    normalisation: dict[str, Any] | None
    drop_head: bool
    weights: str


def resolve_backbone(
    source: Spec | nn.Module,
    input_shape: Sequence[int] | None,
    normalisation: dict[str, Any] | None = None,
    drop_head: bool = True,
    weights: str = "default",
    owner: str = "backbone",
) -> Encoder:
    """An encoder, with the origin of its weights as ``origin``, "" where they are untrained.

    Args:
        source: Folder that ``save_encoder`` wrote, or any module's checkpoint; an ``Encoder``, as a trained module
            has it, which is copied; the configuration of an encoder that this function gave
            (``Encoder.get_config``, and ``origin``); a classifier of torchvision (``resnet18``) or timm
            (``timm:NAME``); or another network's spec, which is built untrained.
        input_shape: Shape of one sample of the data.
        normalisation: Normalisation of the data, for an untrained network.
        drop_head: Whether to drop a trained encoder's last linear layer, which served its own task.
        weights: Weights of torchvision and timm: "default" are the library's own, "none" none, anything else a file.
        owner: Name of the network in messages.

    Raises:
        FileNotFoundError: there is no such folder or checkpoint.
        ValueError: it holds no encoder, or one that does not fit the data; an unknown network.
    """
    request = _Request(checked_shape(input_shape), normalisation, drop_head, weights)
    if isinstance(source, Mapping) and "network" in source:
        encoder = _from_config(source)
    elif isinstance(source, Encoder):
        encoder = _from_encoder(source, request)
    elif isinstance(source, str) and _is_path(source):
        encoder = _from_path(source, request)
    else:
        encoder = _from_spec(source, request)
    check_input(encoder, request.shape, normalisation, owner)
    return encoder


def _from_config(source: Mapping[str, Any]) -> Encoder:
    encoder = Encoder.from_config(source)
    encoder.origin = str(source.get("origin", ""))
    return encoder


def _from_encoder(source: Encoder, request: _Request) -> Encoder:
    encoder = _bare(copy.deepcopy(source).requires_grad_(True), request)
    encoder.origin = "an encoder in memory"
    return encoder


def _from_path(source: str, request: _Request) -> Encoder:
    encoder = _bare(load_encoder(source), request)
    encoder.origin = source
    return encoder


def _from_spec(source: Any, request: _Request) -> Encoder:
    encoder = Encoder(_spec(source, request.shape), request.shape, None, request.normalisation)
    if isinstance(encoder.trunk, LibraryTrunk) and request.weights != "none":
        encoder.origin = load_weights(encoder, request.weights)
    return encoder


def _is_path(text: str) -> bool:
    if not text or text.partition(":")[0] in TRUNKS:
        return False
    return text.endswith(".ckpt") or "/" in text or Path(text).exists()


def _spec(source: Any, shape: tuple[int, ...]) -> Any:
    if not source:
        return "conv" if len(shape) == 3 else "mlp"
    if isinstance(source, str) and source not in {*TRUNKS, *RENAMED} and ":" not in source:
        from torchvision import models

        if source in models.list_models(module=models):
            return f"torchvision:{source}"
        raise ValueError(f"unknown network {source!r}{_other_library(source, models.list_models(module=models))}")
    return source


def _other_library(name: str, torchvision: Sequence[str]) -> str:
    """Where a network of this name is: in timm, or under a similar name."""
    known = timm_names()
    if name.partition(".")[0] in known:
        return f" (did you mean 'timm:{name}'?)"
    near = closest(name, {*TRUNKS, *torchvision, *known}, 1)
    prefix = "timm:" if near and near[0] not in (*TRUNKS, *torchvision) else ""
    hint = f" (did you mean '{prefix}{near[0]}'?)" if near else ": take 'conv', 'mlp', 'resnet18' ..."
    missing = "" if known else f"; if it is timm's: pip install 'pretraining-zoo[timm]', then 'timm:{name}'"
    return hint + missing


def _bare(encoder: Encoder, request: _Request) -> Encoder:
    return without_head(encoder) if request.drop_head else encoder


def without_head(encoder: Encoder) -> Encoder:
    """An encoder of the same trunk without the linear head."""
    if encoder.output_dim is None:
        return encoder
    bare = Encoder(encoder.trunk, encoder.input_shape, None, encoder.normalisation)
    bare.spec = encoder.spec
    return bare


def _fitting_options(wanted: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """A hint for images (C, H, W) of another shape than expected; not all data have these options."""
    if len(wanted) != 3 or len(shape) != 3:
        return ""
    options = [f"`data.channels` {wanted[0]}"] * (wanted[0] != shape[0])
    options += [f"`data.size` {wanted[2]}"] * (wanted[1:] != shape[1:])
    return f" ({' '.join(options)}?)"


def check_input(
    encoder: Encoder, shape: tuple[int, ...], normalisation: dict[str, Any] | None, owner: str = "backbone"
) -> None:
    """Refuse data of another shape, normalisation or order of columns than the encoder was trained on.

    Values in [0, 1] that are not normalised (``normalisation`` None) fit any encoder, which then applies its own.

    Raises:
        ValueError: another shape, other columns, or another normalisation; names both.
    """
    if tuple(encoder.input_shape) != shape:
        raise ValueError(
            f"the {owner} takes inputs of shape {tuple(encoder.input_shape)}, the data have {shape}"
            + _fitting_options(tuple(encoder.input_shape), shape)
        )
    theirs, ours = column_names(encoder.normalisation), column_names(normalisation)
    if theirs and ours and theirs != ours:
        raise ValueError(
            f"the {owner} was trained on columns {', '.join(theirs)}, the data have {', '.join(ours)}: "
            f"`data.columns` '{json.dumps(theirs)}' puts them in its order"
        )
    if changes_values(normalisation) and not same_normalisation(normalisation, encoder.normalisation):
        raise ValueError(
            f"the {owner} was trained on inputs normalised by {encoder.normalisation or 'nothing'}, the data are "
            f"normalised by {normalisation}: leave them as they are (`data.normalise` unit, or of tables "
            f"`data.standardise` false): the {owner} brings its own"
        )
