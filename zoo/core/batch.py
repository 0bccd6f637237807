"""The batch contract: a mapping of named tensors, each with the batch first.

B samples; unlabelled ones have the label -1, or a row of NaN where a label has several values.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

INPUT = "input"  # (B, ...)
LABEL = "label"  # (B,) long, or (B, K)
INDEX = "index"  # (B,) long: the samples' indices within their split
TARGET = "target"  # (B, ...): the other domain's input
VIEWS = "views"  # (B, V, C, H, W)
LOCAL_VIEWS = "local_views"  # (B, V', C, h, w)
TOKENS = "tokens"  # (B, T) long, -1 where there is none
MASK = "mask"  # (B, T) bool, or (B, H, W)
TAGS = "tags"  # (B, T) long, -1 where there is none
BOXES = "boxes"  # a list of B tensors (N_b, 4)
SEED = "seed"  # an int for the batch's augmentation, which the datamodule removes

# What evaluation steps return, beside LABEL under the head's numbers
FEATURES = "features"  # (B, D)
PREDICTION = "prediction"  # (B, C) float32: probabilities, or values


class StepOutputs(dict[str, Any]):
    """What an evaluation step of this project's modules returns: callbacks trust it, and nobody else's dictionary."""


def as_mapping(batch: Any, input_key: str = INPUT) -> Mapping[str, Any]:
    """Give any loader's batch the contract's form.

    Args:
        batch: Batch of any loader: a mapping, a tensor (the input), or ``(input,)`` / ``(input, label)``.
        input_key: Key of the input in the new mapping.

    Returns:
        The batch itself if it is a mapping, otherwise a new one over the same tensors.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(batch, Mapping):
        return batch
    if isinstance(batch, Tensor):
        return {input_key: batch}
    if isinstance(batch, Sequence) and 1 <= len(batch) <= 2:
        return dict(zip((input_key, LABEL), batch, strict=False))
    raise ValueError(f"a batch is a mapping of tensors, a tensor or (input, label); got {type(batch).__name__}")


def require(batch: Mapping[str, Any], key: str, module: object) -> Any:
    """``batch[key]``, or a ``ValueError`` that names the module, the key, and the batch's keys."""
    if key in batch:
        return batch[key]
    raise ValueError(
        f"{type(module).__name__} needs {key!r} in the batch, which has only: {', '.join(map(repr, batch))}"
    )


def class_labels(batch: Mapping[str, Any], input_key: str = INPUT) -> Tensor:
    """A batch's class labels, (B,) long; -1 for unlabelled samples, and for all samples of any other task."""
    x, labels = batch[input_key], batch.get(LABEL)
    if labels is None or labels.ndim != 1 or labels.is_floating_point():
        return torch.full((len(x),), -1, device=x.device)
    return labels.to(x.device)


def check_shape(x: Tensor, input_shape: Sequence[int]) -> None:
    """Refuse inputs (B, ...) whose samples have another shape than a module was made for.

    Raises:
        ValueError: names both shapes.
    """
    if tuple(x.shape[1:]) != tuple(input_shape):
        raise ValueError(
            f"input_shape is {tuple(input_shape)} but the batch holds inputs of shape {tuple(x.shape[1:])}"
        )


def flat_rows(x: Tensor, input_shape: Sequence[int]) -> Tensor:
    """Inputs (B, *input_shape) as rows (B, D).

    Raises:
        ValueError: inputs of another shape.
    """
    check_shape(x, input_shape)
    return x.flatten(1)
