"""The units of a self-organising map as an encoder's trunk."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.functional.som import Topology, grid_positions, nearest, scores

Code = Literal["position", "activation"]


class Prototypes(nn.Module):
    """(B, *input_shape) to the position of the nearest unit on the grid, (B, 2), or to all units' activations, (B, K).

    An activation is a unit's share of exp(-|x - w|^2 / (2 scale^2)) among all units. ``centre`` is a point amid the
    data, about which products are taken, so that a large mean does not cancel in them.

    Args:
        input_shape: Shape of one sample, which is flattened to D dimensions.
        rows: Number of the grid's rows.
        columns: Number of the grid's columns.
        topology: Topology: "rectangular" or "hexagonal".
        code: Output: "position" (down and right, in units) or "activation".
    """

    any_dtype = True
    learns_from_scratch = False
    positions: Tensor
    scale: Tensor
    centre: Tensor

    def __init__(
        self,
        input_shape: Sequence[int],
        rows: int = 10,
        columns: int = 10,
        topology: Topology = "rectangular",
        code: Code = "position",
    ) -> None:
        super().__init__()
        if code not in ("position", "activation"):
            raise ValueError(f"code must be position or activation; got {code!r}")
        self.code = code
        self.weight = nn.Parameter(torch.empty(rows * columns, math.prod(input_shape)))
        self.register_buffer("positions", grid_positions(rows, columns, topology))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("centre", torch.zeros(math.prod(input_shape)))
        self.feature_dim = 2 if code == "position" else rows * columns

        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Units at random around zero."""
        nn.init.normal_(self.weight, std=0.1)
        self.scale.fill_(1)
        self.centre.zero_()

    def scores(self, x: Tensor) -> Tensor:
        """Scores of all units for inputs (B, *input_shape), (B, K), the highest for the nearest."""
        return scores(x.flatten(1).to(self.weight.dtype) - self.centre, self.weight - self.centre)

    def nearest(self, x: Tensor) -> Tensor:
        """Index of the unit nearest to each input (B, *input_shape): (B,) long."""
        return nearest(x.flatten(1).to(self.weight.dtype) - self.centre, self.weight - self.centre)

    def forward(self, x: Tensor) -> Tensor:
        found = self.scores(x)
        if self.code == "position":
            return self.positions.index_select(0, found.argmax(1))
        return (found / self.scale.square()).softmax(1)
