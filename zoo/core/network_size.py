"""A checkpoint's options and tensors belong together: the former are not believed to need more than the latter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.core.renamed import without_foreign_options

_SMALL = 10**7  # numbers that a network may have whatever its checkpoint holds


def check_network_size(
    path: str | Path, checkpoint: dict[str, Any], cls: type, others: Mapping[str, Any] | None = None
) -> None:
    """Refuse options of a network that is far larger than the checkpoint's tensors, before it takes memory.

    Args:
        path: Path of the checkpoint.
        checkpoint: Its contents.
        cls: Class of its module.
        others: Options that take the place of the checkpoint's.

    Raises:
        ValueError: the network is far larger.
    """
    held = sum(value.numel() for value in checkpoint["state_dict"].values() if isinstance(value, Tensor))
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]), without_foreign_options():
            made = cls(**{**checkpoint.get("hyper_parameters", {}), **(others or {})})
        wanted = sum(value.numel() for value in made.state_dict().values() if isinstance(value, Tensor))
    except Exception:  # making it in earnest says what is wrong
        return
    if wanted > 10 * held + _SMALL:
        raise ValueError(
            f"{path} is damaged: its hyper_parameters are of a network of {wanted:,} numbers, and it holds {held:,}"
        )
