"""Plain convolutional networks for images of any size: each stage halves the sides and doubles the channels."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from zoo.networks.precision import cast_like

_SMALLEST_SIDE = 4  # stop halving here: what is left is flattened


def _plan(shape: Sequence[int], width: int, stages: int | None) -> tuple[list[int], list[tuple[int, int]]]:
    """Channels and (height, width) after each stage, the input's first; sides are halved and rounded up."""
    if len(shape) != 3:
        raise ValueError(f"network 'conv' takes images (channels, height, width); got {tuple(shape)}: use 'mlp'")
    channels, sides = [shape[0]], [(shape[1], shape[2])]
    while len(channels) - 1 < (stages or 2) or (stages is None and min(sides[-1]) > _SMALLEST_SIDE):
        channels.append(width * min(8, 2 ** (len(channels) - 1)))
        sides.append(((sides[-1][0] + 1) // 2, (sides[-1][1] + 1) // 2))
    return channels, sides


def norm_layer(name: str, channels: int) -> nn.Module:
    """A norm of maps by name, "group" or "batch".

    Raises:
        ValueError: an unknown name.
    """
    if name not in ("group", "batch"):
        raise ValueError(f"norm must be group or batch; got {name!r}")
    return nn.GroupNorm(8, channels) if name == "group" else nn.BatchNorm2d(channels)


class ConvTrunk(nn.Sequential):
    """(B, C, H, W) to features (B, F): 3 x 3 convolutions of stride 2, a norm, SiLU.

    Args:
        input_shape: Shape of one image, (C, H, W).
        width: Channels of the first stage; later ones double, up to 8 times this. A multiple of 8.
        stages: Number of times the sides are halved; None halves until the shorter is at most 4, at least twice.
        out_channels: Channels of a last 1 x 1 convolution; None is none.
        norm: Norm: "group", which looks at each image alone, or "batch".

    ``feature_shape`` is (channels, height, width) of the features before they are flattened.

    Raises:
        ValueError: ``input_shape`` is not of an image, or an unknown norm.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        width: int = 32,
        stages: int | None = None,
        out_channels: int | None = None,
        norm: Literal["group", "batch"] = "group",
    ) -> None:
        channels, sides = _plan(input_shape, width, stages)
        layers: list[nn.Module] = [
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), norm_layer(norm, b), nn.SiLU())
            for a, b in pairwise(channels)
        ]
        if out_channels is not None:
            layers.append(nn.Conv2d(channels[-1], out_channels, 1))
        super().__init__(*layers, nn.Flatten())
        self.feature_shape = (out_channels or channels[-1], *sides[-1])
        self.feature_dim = math.prod(self.feature_shape)

    def forward_features(self, x: Tensor) -> Tensor:
        """Maps (B, *feature_shape), before they are flattened."""
        for layer in list(self)[:-1]:
            x = layer(x)
        return x


class ConvDecoder(nn.Module):
    """Latents (B, latent_dim) to images (B, C, H, W), unbounded: the mirror of ``ConvTrunk``, sizes exact.

    Args:
        latent_dim: Length of the latents, D.
        output_shape: Shape of one image, (C, H, W).
        width, stages, out_channels: As given to the trunk; with ``out_channels`` the latents are its flattened grid.
    """

    def __init__(
        self,
        latent_dim: int,
        output_shape: Sequence[int],
        width: int = 32,
        stages: int | None = None,
        out_channels: int | None = None,
    ) -> None:
        super().__init__()
        channels, sides = _plan(output_shape, width, stages)
        start_shape = (channels[-1], *sides[-1])
        if out_channels is None:
            self.start = nn.Sequential(nn.Linear(latent_dim, math.prod(start_shape)), nn.Unflatten(1, start_shape))
        else:
            grid = nn.Unflatten(1, (out_channels, *sides[-1]))
            self.start = nn.Sequential(grid, nn.Conv2d(out_channels, channels[-1], 1))
        layers: list[nn.Module] = []
        for stage in reversed(range(1, len(channels))):
            layers += [nn.GroupNorm(8, channels[stage]), nn.SiLU()]
            # A stage maps side s to 2s - 1 + output_padding; an even target needs the 1, an odd one does not.
            extra = (1 - sides[stage - 1][0] % 2, 1 - sides[stage - 1][1] % 2)
            layers.append(nn.ConvTranspose2d(channels[stage], channels[stage - 1], 3, 2, 1, output_padding=extra))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(self.start(cast_like(z, self)))
