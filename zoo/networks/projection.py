"""A linear map that subtracts before it multiplies."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Projection(nn.Module):
    """(B, *input_shape) to (B, components): W (x - centre) + bias.

    If the mean is large beside the inputs' standard deviations, subtracting it after the product would cancel digits.
    ``centre`` is the mean in float32, ``bias`` corrects its rounding. It begins as a random orthonormal projection.

    Args:
        input_shape: Shape of one sample, which is flattened to D dimensions.
        components: Number of rows of W, at most D.
    """

    learns_from_scratch = False
    centre: Tensor
    any_dtype = True  # subtracts in the input's precision

    def __init__(self, input_shape: Sequence[int], components: int) -> None:
        super().__init__()
        dim = math.prod(input_shape)
        if not 1 <= components <= dim:
            raise ValueError(f"components must be 1 to {dim}, the dimensions of an input; got {components}")
        self.feature_dim = components
        self.weight = nn.Parameter(torch.empty(components, dim))
        self.bias = nn.Parameter(torch.empty(components))
        self.register_buffer("centre", torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Orthonormal rows in random directions, nothing subtracted."""
        nn.init.orthogonal_(self.weight)
        nn.init.zeros_(self.bias)
        self.centre.zero_()

    @torch.no_grad()
    def set(self, weight: Tensor, mean: Tensor) -> None:
        """Make it W (x - mean), from W (components, D) and mean (D,) in float64."""
        self.weight.copy_(weight)
        self.centre.copy_(mean)
        self.bias.copy_(weight @ (self.centre - mean))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear((x.flatten(1) - self.centre).to(self.weight.dtype), self.weight, self.bias)
