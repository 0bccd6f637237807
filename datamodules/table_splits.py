"""A table's rows by what they are for, and the scale of its columns."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor


class Splits(NamedTuple):
    """A table's samples in three splits, and what was done to them."""

    rows: dict[str, Tensor]  # of "train", "val", "test": (N, D) float32
    labels: dict[str, Tensor]  # where there are labels
    mean: Tensor  # (D,) float64
    std: Tensor  # (D,) float64


class Fold(Splits):
    """Of cross-validation, "train" and "predict": it is not divided again."""


def column_scale(rows: Tensor, columns: Sequence[str], source: str) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each column (D,), such that constant ones become 0.

    Args:
        rows: Rows (N, D).
        columns: Names of the columns.
        source: Name of the table, for the warning.
    """
    std, mean = torch.std_mean(rows, 0, correction=0)
    if (flat := std <= 1e-12 * mean.abs()).any():
        names = [repr(name) for name, constant in zip(columns, flat.tolist(), strict=True) if constant]
        rank_zero_warn(f"columns without variance in {source}: {', '.join(names)}")
    return mean, torch.where(flat, 1.0, std)


def tell_rounded(rows: Tensor, columns: Sequence[str], source: str) -> None:
    """Name columns of whole numbers that float32, in which rows are served, rounds; arguments as ``column_scale``'s."""
    rounded = ((rows == rows.round()) & (rows.float().double() != rows)).any(0)
    if names := [repr(name) for name, lossy in zip(columns, rounded.tolist(), strict=True) if lossy]:
        rank_zero_warn(
            f"columns of {source} with whole numbers that float32 rounds: {', '.join(names)}; "
            "`data.standardise` true keeps their differences"
        )
