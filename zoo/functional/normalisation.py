"""What is done to inputs in [0, 1] before a network sees them, as a plain mapping that travels with the encoder.

``{"mean": [...], "std": [...]}`` has a value for each channel (or for each number of a vector): x becomes
(x - mean) / std. ``{"sample_offset": a}`` normalises each image by itself (contrast normalisation, Coates et al. 2011):
its own mean is subtracted, and it is divided by its own standard deviation + a. None leaves inputs as they are.
``{"columns": [...]}``, alone or beside mean and std, names the numbers of a vector, which are known by their order; it
does nothing to them.
"""

import math
from typing import Any

import torch
from torch import Tensor

Normalisation = dict[str, Any]


def column_names(normalisation: Normalisation | None) -> list[str] | None:
    """Names of a vector's numbers in their order; None where they are not known."""
    return (normalisation or {}).get("columns")


def check_normalisation(normalisation: Any) -> Normalisation | None:
    """The mapping itself, or None; refuse what is neither, or has values of other types.

    Raises:
        ValueError: it is none of those above; names what is wrong.
    """
    found = {} if normalisation is None else normalisation
    if not isinstance(found, dict) or not {*found} <= {"mean", "std", "sample_offset", "columns"}:
        raise ValueError(f"the normalisation must be a mapping with mean and std, or sample_offset; got {found!r:.100}")
    if ("mean" in found) != ("std" in found):
        raise ValueError(f"the normalisation must have both mean and std; got {found!r:.100}")
    numbers = [found[name] for name in ("mean", "std") if name in found]
    if not all(isinstance(values, list | tuple) and values for values in numbers):
        raise ValueError(f"mean and std of the normalisation must be lists; got {found!r:.100}")
    for value in [*(value for values in numbers for value in values), found.get("sample_offset", 0)]:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"values of the normalisation must be numbers; got {value!r:.100}")
    if not all(isinstance(name, str) for name in found.get("columns") or []):
        raise ValueError("columns of the normalisation must be names")
    return normalisation  # type: ignore[no-any-return]


def changes_values(normalisation: Normalisation | None) -> bool:
    """Whether anything is done to inputs: not where there is no mapping, or one that names columns alone."""
    return bool({*(normalisation or {})} - {"columns"})


def left_to_encoder(normalisation: Normalisation | None, encoders: Normalisation | None) -> bool:
    """Whether the data (the first) leave inputs as they are for an encoder (the second) that needs them normalised."""
    return changes_values(encoders) and not changes_values(normalisation)


def same_normalisation(first: Normalisation | None, second: Normalisation | None) -> bool:
    """Whether the same is done to inputs, whatever the names of their columns."""
    return _without_names(first) == _without_names(second)


def _without_names(normalisation: Normalisation | None) -> Normalisation:
    return {key: value for key, value in (normalisation or {}).items() if key != "columns"}


def normalise(x: Tensor, normalisation: Normalisation | None) -> Tensor:
    """Images (B, C, H, W) in [0, 1], or vectors (B, D), as the mapping says.

    >>> normalise(torch.tensor([[1.0, 0.0]]), {"mean": [0.5, 0.5], "std": [0.25, 0.5]})
    tensor([[ 2., -1.]])
    """
    if normalisation is None or not changes_values(normalisation):
        return x
    if "sample_offset" in normalisation:
        std, mean = torch.std_mean(x, (1, 2, 3), keepdim=True)
        return (x - mean) / (std + normalisation["sample_offset"])
    mean, std = _per_channel(normalisation, x.ndim - 2, x.device)
    return (x - mean) / std


def denormalise(x: Tensor, normalisation: Normalisation | None) -> Tensor:
    """Back: images (..., C, H, W) to values in [0, 1], clamped.

    Where each image had its own normalisation, which is not known any more, it fills the range from black to white.
    """
    if normalisation and "sample_offset" in normalisation:
        low, high = x.amin((-3, -2, -1), keepdim=True), x.amax((-3, -2, -1), keepdim=True)
        x = (x - low) / (high - low).clamp_min(1e-6)
    elif normalisation and changes_values(normalisation):
        mean, std = _per_channel(normalisation, 2, x.device)
        x = x * std + mean
    return x.clamp(0, 1)


def check_invertible(x: Tensor, normalisation: Normalisation | None) -> None:
    """Refuse images (B, C, H, W) that are not those in [0, 1] after the mapping. It waits for the device.

    Raises:
        ValueError: pixels are out of the range; says which they have.
    """
    if normalisation and "sample_offset" in normalisation:
        return
    low, high = x.aminmax()
    if not (normalise(denormalise(x, normalisation), normalisation) - x).abs().max() < 0.05:
        raise ValueError(
            f"images are expected in [0, 1]{' after' if normalisation else ', without'} normalisation, these are in "
            f"[{low:.3g}, {high:.3g}]: say `normalisation`, or leave them in [0, 1]"
        )


def value_range(normalisation: Normalisation | None) -> tuple[Tensor, Tensor]:
    """What 0 (black) and 1 (white) become, (C, 1, 1) or (1, 1, 1) each.

    Raises:
        ValueError: every image has its own.
    """
    if normalisation is None or not changes_values(normalisation):
        return torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    if "mean" not in normalisation:
        raise ValueError("images that are normalised one by one have no common black and white to generate between")
    mean, std = _per_channel(normalisation, 2, None)
    return (0 - mean) / std, (1 - mean) / std


def _per_channel(normalisation: Normalisation, sides: int, device: Any) -> list[Tensor]:
    """Mean and standard deviation, (C, 1, ..., 1) each."""
    ones = [1] * sides
    return [torch.tensor(normalisation[key], device=device).view(-1, *ones) for key in ("mean", "std")]
