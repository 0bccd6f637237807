"""A small vision transformer (Dosovitskiy et al. 2021) for images from 8 x 8 pixels on.

Positions are fixed sines and cosines of a patch's place, as in MAE (He et al. 2022), but with wavelengths that suit
small grids: few images teach no better ones, and at another size of image they are interpolated exactly, since they are
functions of the place.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.arguments import at_least
from zoo.functional.patches import patchify, positions_2d

_MOST_PATCHES = 64  # of an image, where the patch is chosen by its size; patches of 16 pixels may be more
_LARGEST_PATCH = 16


def fitting_patches(height: int, width: int) -> list[int]:
    """Sides of square patches, 2 pixels or more, that divide both sides of an image into 2 x 2 patches or more."""
    common = math.gcd(height, width)
    return [p for p in range(2, common + 1) if common % p == 0 and height * width >= 4 * p * p]


def choose_patch(height: int, width: int) -> int:
    """The smallest patch that fits and leaves 64 of them at most, or has 16 pixels a side.

    Raises:
        ValueError: none divides both sides.

    >>> [choose_patch(side, side) for side in (8, 28, 32, 64, 224)]
    [2, 4, 4, 8, 16]
    """
    fitting = fitting_patches(height, width)
    if not fitting:
        raise ValueError(f"no square patch divides images of {height} x {width}: resize them, to {_near(height, 4)} x "
                         f"{_near(width, 4)} for patches of 4, say")  # fmt: skip
    few = [p for p in fitting if height * width <= _MOST_PATCHES * p * p or p >= _LARGEST_PATCH]
    return few[0] if few else fitting[-1]


def check_patches(height: int, width: int, patch: int) -> None:
    """Refuse images that patches do not divide.

    Raises:
        ValueError: says which patch would, or which size.
    """
    if height % patch == 0 and width % patch == 0 and min(height, width) >= patch:
        return
    what = "are larger than" if min(height, width) < patch else "do not divide"
    fitting = " or ".join(map(str, fitting_patches(height, width)))
    mend = f"give the network a patch of {fitting}, or resize" if fitting else "resize"
    raise ValueError(
        f"patches of {patch} x {patch} {what} images of {height} x {width}: {mend} "
        f"the images to {_near(height, patch)} x {_near(width, patch)}"
    )


def _near(side: int, patch: int) -> int:
    return max(1, round(side / patch)) * patch


class XavierLinear(nn.Linear):
    """A linear layer that begins as in MAE and timm: Glorot's uniform weights, no bias."""

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class PatchProjection(nn.Linear):
    """Pixels of a patch to a token, which begins as large as they are: by Glorot's rule tokens of patches of a few
    pixels would vanish beside their positions."""

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.in_features**-0.5)
        nn.init.zeros_(self.bias)


class PatchEmbedding(nn.Module):
    """Images to tokens (B, L, D), positions added; and the learned class tokens.

    Args:
        channels: Channels of images, C.
        grid: Patches along height and width of the images that the network is made for.
        patch: Side of a patch in pixels.
        width: Numbers of a token, D.
        class_tokens: Number of class tokens, K; 0 is none.
    """

    positions: Tensor

    def __init__(self, channels: int, grid: tuple[int, int], patch: int, width: int, class_tokens: int) -> None:
        super().__init__()
        self.patch, self.grid, self.width = patch, grid, width
        self.projection = PatchProjection(channels * patch * patch, width)
        self.class_tokens = nn.Parameter(torch.empty(1, class_tokens, width)) if class_tokens else None
        self.register_buffer("positions", self._positions(grid, torch.device("cpu")), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin the class tokens anew, small and unlike one another."""
        if self.class_tokens is not None:
            nn.init.normal_(self.class_tokens, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        check_patches(x.shape[2], x.shape[3], self.patch)
        tokens = self.projection(patchify(x, self.patch))
        grid = (x.shape[2] // self.patch, x.shape[3] // self.patch)
        positions = self.positions if grid == self.grid else self._positions(grid, x.device)
        return tokens + positions.to(tokens.dtype)

    def _positions(self, grid: tuple[int, int], device: torch.device) -> Tensor:
        """Positions (h * w, D) of another grid, stretched over the network's own: patch centres onto patch centres."""
        places = [
            (torch.arange(n, device=device, dtype=torch.float32) + 0.5) * (own / n) - 0.5
            for n, own in zip(grid, self.grid, strict=True)
        ]
        return positions_2d(places[0], places[1], self.width)


class Block(nn.Module):
    """A transformer's block with its norms before attention and perceptron (Xiong et al. 2020): (B, T, D) to the same.

    Args:
        width: Numbers of a token, D.
        heads: Heads of the attention.
        mlp_ratio: Width of the perceptron's hidden layer, in widths.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        hidden = round(width * mlp_ratio)
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        # No biases: a key's has no gradient but rounding, which Adam enlarges; a value's would be one of ``proj``.
        self.qkv = XavierLinear(width, 3 * width, bias=False)
        self.proj = XavierLinear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(XavierLinear(width, hidden), nn.GELU(), XavierLinear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.proj(self._attend(self.norm1(x)))
        return x + self.mlp(self.norm2(x))

    def _attend(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, T, D / heads) each
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class ViTTrunk(nn.Module):
    """(B, C, H, W) to features (B, width): patches, transformer blocks, a norm, and a mean of tokens. Images may have
    any size that patches divide.

    Args:
        input_shape: Shape of one image, (C, H, W).
        patch: Side of a patch in pixels; None is the smallest that gives 64 patches at most, or has 16 pixels.
        width: Numbers of a token, D, a multiple of 4 and of the heads.
        depth: Number of blocks.
        heads: Heads of the attention; None is the number nearest to a head for 32 numbers.
        mlp_ratio: Width of the perceptrons' hidden layers, in widths.
        class_tokens: Number of class tokens, whose mean is the feature; 0 takes the mean of the patches' tokens.

    Raises:
        ValueError: inputs that are not images, sides that patches do not divide, heads that do not divide the width.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        patch: int | None = None,
        width: int = 192,
        depth: int = 6,
        heads: int | None = None,
        mlp_ratio: float = 4.0,
        class_tokens: int = 0,
    ) -> None:
        super().__init__()
        if len(input_shape) != 3:
            raise ValueError(
                f"network 'vit' takes images (channels, height, width); got {tuple(input_shape)}: use 'mlp'"
            )
        channels, height, across = input_shape
        at_least(1, width=width, depth=depth)
        at_least(0, class_tokens=class_tokens)
        self.patch = patch or choose_patch(height, across)
        check_patches(height, across, self.patch)
        heads = heads or choose_heads(width)
        if width % 4 or width % heads:
            raise ValueError(f"`width` must be a multiple of 4 and of `heads`; got {width} and {heads}")
        self.feature_dim, self.num_class_tokens = width, class_tokens
        grid = (height // self.patch, across // self.patch)
        self.embed = PatchEmbedding(channels, grid, self.patch, width, class_tokens)
        self.depth = depth
        for i in range(depth):  # each a child of its own, so that it is a stage (zoo.networks.stages)
            self.add_module(f"block{i}", Block(width, heads, mlp_ratio))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along height and width of the images that the network is made for."""
        return self.embed.grid

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """All or some of an image's embedded patches (B, T, D), as ``embed`` gives them, through the blocks.

        Returns:
            (B, K + T, D), class tokens first.
        """
        if self.embed.class_tokens is not None:
            batch = tokens.shape[0]  # not len, which an export to ONNX takes for a constant
            class_tokens = self.embed.class_tokens.to(tokens.dtype).expand(batch, -1, -1)
            tokens = torch.cat([class_tokens, tokens], 1)
        for i in range(self.depth):
            tokens = getattr(self, f"block{i}")(tokens)
        return self.norm(tokens)

    def pool(self, tokens: Tensor) -> Tensor:
        """Tokens (B, K + T, D) to features (B, D): the mean of the class tokens, or of all where there are none."""
        return (tokens[:, : self.num_class_tokens] if self.num_class_tokens else tokens).mean(1)

    def forward_features(self, x: Tensor) -> Tensor:
        """Tokens (B, K + L, D), class tokens first."""
        return self.encode_tokens(self.embed(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.forward_features(x))


def choose_heads(width: int) -> int:
    """The number of heads nearest to one for 32 numbers that divides a width: small networks need several."""
    return min((h for h in range(1, width + 1) if width % h == 0), key=lambda h: (abs(h - width / 32), -h))
