"""Trunks of critics and generators for adversarial training, of three designs, for images of any size.

``dcgan`` is the classic (Radford et al. 2016), ``gan_resnet`` has residual blocks (Miyato et al. 2018), ``r3gan``
residual bottlenecks without any normalisation (Huang et al. 2024). Critics look at every image alone:
none has batch statistics, which is what lets one pass serve real and fake images, the critic and the generator.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm as spectral_norm_of

SMALLEST_SIDE = 4  # halving goes on while the shorter side is longer, and is done twice at least
Norm = Literal["batch", "group", "none"]


def stage_shapes(shape: Sequence[int], width: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Channels and (height, width) at each resolution, the image's own first; sides are halved and rounded down.

    Raises:
        ValueError: not an image's shape, or an unsupported size.
    """
    if len(shape) != 3:
        raise ValueError(f"adversarial networks make images (channels, height, width); got {tuple(shape)}")
    channels, sides = [shape[0]], [(shape[1], shape[2])]
    if not SMALLEST_SIDE <= min(shape[1:]) <= max(shape[1:]) <= 256:
        raise ValueError(f"adversarial networks make images with sides of 4 to 256; got {shape[1]} x {shape[2]}")
    while min(sides[-1]) > SMALLEST_SIDE or len(sides) < 3:
        channels.append(width * min(8, 2 ** (len(channels) - 1)))
        sides.append((sides[-1][0] // 2, sides[-1][1] // 2))
    return channels, sides


def apply_spectral_norm(module: nn.Module) -> nn.Module:
    """Spectral norm (Miyato et al. 2018) on every matrix and kernel within."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            spectral_norm_of(layer)
    return module


def init_weights(network: nn.Module) -> None:
    """Weights by Glorot & Bengio 2010 with gain sqrt(2), zero biases, and branches of ``R3GANBlock`` at zero.

    With PyTorch's defaults a signal vanishes where there are few norms or none: a generator begins with nearly the same
    image for all noise, and stays collapsed on a few modes.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fans = layer.weight.shape[0] // getattr(layer, "groups", 1) + layer.weight.shape[1]
            reach = math.sqrt(12 / (fans * layer.weight[0, 0].numel()))
            nn.init.uniform_(layer.weight, -reach, reach)  # ``xavier_uniform_`` ignores groups
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for block in network.modules():
        if isinstance(block, R3GANBlock):
            nn.init.zeros_(block.layers[-1].weight)  # type: ignore[arg-type]


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """A generator's normalisation layer for feature maps of so many channels.

    Raises:
        ValueError: an unknown name.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "group":
        return nn.GroupNorm(math.gcd(8, channels), channels)
    if norm == "none":
        return nn.Identity()
    raise ValueError(f"norm must be batch, group or none; got {norm!r}")


class MapTrunk(nn.Sequential):
    """A trunk that ends in ``Flatten``, after feature maps."""

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to the last maps (B, C', H', W')."""
        for layer in list(self)[:-1]:
            x = layer(x)
        return x


class DCGANTrunk(MapTrunk):
    """(B, C, H, W) to features (B, F): 4 x 4 convolutions of stride 2 and leaky ReLU.

    Args:
        input_shape: Shape of one image, (C, H, W).
        width: Channels of the first stage; later ones double, up to 8 times this.
        spectral_norm: Whether spectral norm limits what every layer can amplify.
    """

    def __init__(self, input_shape: Sequence[int], width: int = 64, spectral_norm: bool = False) -> None:
        channels, sides = stage_shapes(input_shape, width)
        layers: list[nn.Module] = []
        for a, b in pairwise(channels):
            layers += [nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Flatten())
        if spectral_norm:
            apply_spectral_norm(self)
        self.feature_dim = channels[-1] * math.prod(sides[-1])


def stem(latent_dim: int, channels: int, sides: tuple[int, int]) -> list[nn.Module]:
    """Latents (B, D) to the smallest feature maps (B, channels, *sides) of a generator."""
    shape = (channels, *sides)
    return [nn.Linear(latent_dim, math.prod(shape)), nn.Unflatten(1, shape)]


class DCGANGenerator(nn.Module):
    """Latents (B, latent_dim) to images (B, C, H, W), unbounded.

    Args:
        latent_dim: Length of the latents, D.
        output_shape: Shape of one image, (C, H, W).
        width: Channels before the last layer; earlier ones double, up to 8 times this.
        norm: Norm: "batch", "group" or "none".
    """

    def __init__(self, latent_dim: int, output_shape: Sequence[int], width: int = 64, norm: Norm = "batch") -> None:
        super().__init__()
        self.latent_shape = (latent_dim,)
        channels, sides = stage_shapes(output_shape, width)
        layers = stem(latent_dim, channels[-1], sides[-1])
        for stage in reversed(range(1, len(channels))):
            odd = (sides[stage - 1][0] % 2, sides[stage - 1][1] % 2)
            layers += [norm_layer(norm, channels[stage]), nn.ReLU()]
            layers.append(nn.ConvTranspose2d(channels[stage], channels[stage - 1], 4, 2, 1, output_padding=odd))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class ResidualBlock(nn.Module):
    """Norm, ReLU, 3 x 3 convolution, twice, beside a 1 x 1 convolution; resized to ``size`` if given.

    Args:
        channels: Numbers of channels in and out.
        size: Height and width of the output; None is those of the input.
        norm: Name of the norm, see ``norm_layer``.
    """

    def __init__(self, channels: tuple[int, int], size: tuple[int, int] | None, norm: Norm = "none") -> None:
        super().__init__()
        a, b = channels
        self.size = size
        self.first = nn.Sequential(norm_layer(norm, a), nn.ReLU())
        self.conv1 = nn.Conv2d(a, b, 3, padding=1)
        self.second = nn.Sequential(norm_layer(norm, b), nn.ReLU(), nn.Conv2d(b, b, 3, padding=1))
        self.skip = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        wide, size = x.shape[2:], self.size
        if size is None:
            return self.second(self.conv1(self.first(x))) + self.skip(x)
        if size[0] > wide[0]:
            return self.second(self.conv1(resize(self.first(x), size))) + resize(self.skip(x), size)
        return resize(self.second(self.conv1(self.first(x))), size) + self.skip(resize(x, size))


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (B, C, h, w): nearest pixels to a larger size, means to half the size."""
    if size[0] > x.shape[2]:
        return F.interpolate(x, size=size, mode="nearest")
    return F.avg_pool2d(x, 2)  # rounds down, as ``stage_shapes`` does


class ResNetTrunk(MapTrunk):
    """(B, C, H, W) to features (B, F): residual blocks.

    Args:
        input_shape: Shape of one image, (C, H, W).
        width: Channels of the first stage; later ones double, up to 8 times this.
        spectral_norm: Whether spectral norm limits what every layer can amplify.
    """

    def __init__(self, input_shape: Sequence[int], width: int = 32, spectral_norm: bool = False) -> None:
        channels, sides = stage_shapes(input_shape, width)
        layers: list[nn.Module] = [nn.Conv2d(channels[0], channels[1], 3, padding=1)]
        for i, (a, b) in enumerate(pairwise([channels[1], *channels[1:]])):
            layers.append(ResidualBlock((a, b), sides[i + 1]))
        super().__init__(*layers, nn.ReLU(), nn.Flatten())
        init_weights(self)
        if spectral_norm:
            apply_spectral_norm(self)
        self.feature_dim = channels[-1] * math.prod(sides[-1])


class ResNetGenerator(nn.Module):
    """Latents (B, latent_dim) to images (B, C, H, W), unbounded; arguments as ``DCGANGenerator``'s."""

    def __init__(self, latent_dim: int, output_shape: Sequence[int], width: int = 32, norm: Norm = "batch") -> None:
        super().__init__()
        self.latent_shape = (latent_dim,)
        channels, sides = stage_shapes(output_shape, width)
        layers = stem(latent_dim, channels[-1], sides[-1])
        for stage in reversed(range(1, len(channels))):
            after = channels[max(1, stage - 1)]
            layers.append(ResidualBlock((channels[stage], after), sides[stage - 1], norm))
        end = [norm_layer(norm, channels[1]), nn.ReLU(), nn.Conv2d(channels[1], channels[0], 3, padding=1)]
        self.layers = nn.Sequential(*layers, *end)
        init_weights(self)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class R3GANBlock(nn.Module):
    """A residual bottleneck without normalisation: 1 x 1, grouped 3 x 3 and 1 x 1 convolutions.

    The last begins at zero, so that a deep stack begins as the identity (Zhang et al. 2019, "Fixup initialization").

    Args:
        channels: Number of channels in and out.
        group: Channels that a 3 x 3 kernel sees.
    """

    def __init__(self, channels: int, group: int = 16) -> None:
        super().__init__()
        inner = channels * 2
        self.layers = nn.Sequential(
            nn.Conv2d(channels, inner, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(inner, inner, 3, padding=1, groups=max(1, inner // group)),
            nn.LeakyReLU(0.2),
            nn.Conv2d(inner, channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class R3GANTrunk(MapTrunk):
    """(B, C, H, W) to features (B, F): ``blocks`` R3GAN blocks a resolution, means and 1 x 1 between."""

    def __init__(self, input_shape: Sequence[int], width: int = 32, blocks: int = 1) -> None:
        channels, sides = stage_shapes(input_shape, width)
        layers: list[nn.Module] = [nn.Conv2d(channels[0], channels[1], 3, padding=1)]
        for a, b in pairwise([channels[1], *channels[1:]]):
            layers += [*(R3GANBlock(a) for _ in range(blocks)), nn.AvgPool2d(2), nn.Conv2d(a, b, 1)]
        layers += [R3GANBlock(channels[-1]), nn.Conv2d(channels[-1], channels[-1], sides[-1], groups=channels[-1])]
        super().__init__(*layers, nn.Flatten())
        init_weights(self)
        self.feature_dim = channels[-1]


class R3GANGenerator(nn.Module):
    """Latents (B, latent_dim) to images (B, C, H, W), unbounded: ``R3GANTrunk``'s mirror."""

    def __init__(self, latent_dim: int, output_shape: Sequence[int], width: int = 32, blocks: int = 1) -> None:
        super().__init__()
        self.latent_shape = (latent_dim,)
        channels, sides = stage_shapes(output_shape, width)
        layers = stem(latent_dim, channels[-1], sides[-1])
        layers.append(R3GANBlock(channels[-1]))
        for stage in reversed(range(1, len(channels))):
            a, b = channels[stage], channels[max(1, stage - 1)]
            layers += [nn.Conv2d(a, b, 1), nn.Upsample(sides[stage - 1], mode="bilinear")]
            layers += [R3GANBlock(b) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, nn.LeakyReLU(0.2), nn.Conv2d(channels[1], channels[0], 3, padding=1))
        init_weights(self)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class ImageGenerator(nn.Module):
    """Noise of an image's shape (B, C, H, W) to an image of the same size, unbounded; for 100 x 100 x 3 and others.

    Two convolutions that halve the sides, two in the middle, two that restore them.

    Args:
        latent_dim: Not used: the latent is an image.
        output_shape: Shape of one image, (C, H, W).
        width: Channels of the first layer; inner ones have twice as many.
        norm: Norm: "batch", "group" or "none".
    """

    def __init__(self, latent_dim: int, output_shape: Sequence[int], width: int = 32, norm: Norm = "batch") -> None:
        super().__init__()
        self.latent_shape = tuple(output_shape)
        channels, height, across = output_shape
        half = (height // 2, across // 2)
        inner = 2 * width
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1),
            *(norm_layer(norm, width), nn.ReLU()),
            nn.Conv2d(width, inner, 4, 2, 1),
            *(norm_layer(norm, inner), nn.ReLU()),
            nn.Conv2d(inner, inner, 5, padding=2),
            *(norm_layer(norm, inner), nn.ReLU()),
            nn.Conv2d(inner, inner, 5, padding=2),
            *(norm_layer(norm, inner), nn.ReLU()),
            nn.ConvTranspose2d(inner, width, 4, 2, 1, output_padding=(half[0] % 2, half[1] % 2)),
            *(norm_layer(norm, width), nn.ReLU()),
            nn.ConvTranspose2d(width, channels, 4, 2, 1, output_padding=(height % 2, across % 2)),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)
