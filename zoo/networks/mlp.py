"""Fully connected networks, for vectors and small images."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from zoo.networks.precision import cast_like


def _layers(widths: Sequence[int]) -> list[nn.Module]:
    """Linear + SiLU from each width to the next."""
    return [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.SiLU())]


class MLPTrunk(nn.Sequential):
    """(B, *input_shape) to features (B, widths[-1]).

    Args:
        input_shape: Shape of one sample, which is flattened.
        widths: Widths of the hidden layers, each followed by SiLU.
    """

    def __init__(self, input_shape: Sequence[int], widths: Sequence[int] = (512, 256)) -> None:
        super().__init__(nn.Flatten(), *_layers([math.prod(input_shape), *widths]))
        self.feature_dim = [math.prod(input_shape), *widths][-1]


class MLPDecoder(nn.Module):
    """Latents (B, latent_dim) to (B, *output_shape), unbounded: the mirror of ``MLPTrunk``.

    Args:
        latent_dim: D, length of the latents.
        output_shape: Shape of one sample.
        widths: Widths as given to the trunk; used from last to first.
    """

    def __init__(self, latent_dim: int, output_shape: Sequence[int], widths: Sequence[int] = (512, 256)) -> None:
        super().__init__()
        hidden = [latent_dim, *reversed(widths)]
        self.layers = nn.Sequential(*_layers(hidden), nn.Linear(hidden[-1], math.prod(output_shape)))
        self.output_shape = tuple(output_shape)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(cast_like(z, self)).unflatten(1, self.output_shape)
