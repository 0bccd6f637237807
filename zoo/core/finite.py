"""Inputs that are NaN or infinite, found without synchronising a GPU."""

import torch
from torch import Tensor


def first_not_finite(rows: Tensor) -> Tensor:
    """Index into the flattened rows (B, D) of the first NaN or infinity, else -1: () long, without synchronisation."""
    bad = ~rows.isfinite().flatten()
    return torch.where(bad.any(), bad.byte().argmax(), -1)


def check_finite(rows: Tensor) -> None:
    """Refuse a batch (B, D) with a NaN or an infinity; the check synchronises a GPU.

    Raises:
        ValueError: there is one; names row and column.
    """
    if not rows.sum().isfinite() and not rows.isfinite().all():
        row, column = (~rows.isfinite()).nonzero().tolist()[0]
        raise ValueError(f"inputs must be finite: row {row} of the batch, column {column}, is NaN or infinite")


class FiniteCheck:
    """Remembers the first NaN or infinity among the inputs of an epoch, D dimensions each.

    On a CPU it is raised at once; on a GPU by ``check``, when the host synchronises anyway.
    """

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._found = torch.tensor([-1, -1])  # index of the batch and within it, on the batches' device

    def clear(self) -> None:
        """Forget what was found, at an epoch's beginning."""
        self._found.fill_(-1)

    def look(self, rows: Tensor, batch_idx: int) -> None:
        """Search a batch (B, D) for NaN and infinity.

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
        """Raise if anything was found.

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
