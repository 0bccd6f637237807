"""Inputs that are NaN or infinite, found without making a GPU wait."""

import torch
from torch import Tensor


def first_not_finite(rows: Tensor) -> Tensor:
    """Place in the flattened rows (B, D) of the first NaN or infinity, -1 where there is none: () long, no waiting."""
    bad = ~rows.isfinite().flatten()
    return torch.where(bad.any(), bad.byte().argmax(), -1)


def check_finite(rows: Tensor) -> None:
    """Refuse a batch (B, D) with a NaN or an infinity; looking makes a GPU wait.

    Raises:
        ValueError: there is one; names row and column.
    """
    if not rows.sum().isfinite() and not rows.isfinite().all():
        row, column = (~rows.isfinite()).nonzero().tolist()[0]
        raise ValueError(f"inputs must be finite: row {row} of the batch, column {column}, is NaN or infinite")


class FiniteCheck:
    """Remembers the first NaN or infinity among the inputs, D numbers each, of an epoch.

    On a CPU it is told at once; a GPU is asked by ``check`` when its answer is waited for anyway.
    """

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._found = torch.tensor([-1, -1])  # batch and place, on the batches' device

    def clear(self) -> None:
        """Forget, as at an epoch's beginning."""
        self._found.fill_(-1)

    def look(self, rows: Tensor, batch_idx: int) -> None:
        """Look at a batch (B, D).

        Raises:
            ValueError: there is one, and the batch is on a CPU.
        """
        place = first_not_finite(rows)
        here = torch.stack((torch.full_like(place, batch_idx), place))
        self._found = self._found.to(place.device)
        self._found = torch.where((place >= 0) & (self._found[1] < 0), here, self._found)
        if place.is_cpu:
            self.check()

    def check(self) -> None:
        """Tell what was found.

        Raises:
            ValueError: there was one; names batch, row and column.
        """
        batch, place = self._found.tolist()
        if place >= 0:
            row, column = divmod(place, self._dim)
            raise ValueError(
                f"inputs must be finite: row {row}, column {column} of training batch {batch} is NaN or infinite "
                "(all counted from 0)"
            )
