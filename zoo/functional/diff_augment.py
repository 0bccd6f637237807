"""Differentiable augmentation of real and fake images alike: what keeps a critic from memorising few images.

Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training". The critic sees only augmented
images, so that it cannot recognise a real one; the generator's gradient flows through the augmentation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

POLICIES = ("colour", "translation", "cutout")


def diff_augment(
    x: Tensor,
    policy: Sequence[str] = POLICIES,
    low: float | Tensor = 0.0,
    high: float | Tensor = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A random augmentation of each image of a batch, (B, C, H, W) to the same shape.

    Args:
        x: Images (B, C, H, W).
        policy: Changes by name: "colour" (brightness, saturation, contrast), "translation" (by up to 1/8 of the
            sides), "cutout" (a square of half the side).
        low, high: Values of black and white, numbers or (C, 1, 1); black fills what is empty.
        generator: Source of the random numbers; None is torch's own.

    Raises:
        ValueError: an unknown name in ``policy``.
    """
    for name in policy:
        if name not in POLICIES:
            raise ValueError(f"unknown augmentation {name!r}; there are: {', '.join(POLICIES)}")
    if "colour" in policy:
        brightness, saturation, contrast = (_uniform(x, generator) for _ in range(3))
        x = colour(x, brightness, saturation, contrast, high - low)
    if "translation" in policy:
        down, right = (_uniform(x, generator, -side / 8, side / 8).flatten().round().long() for side in x.shape[2:])
        x = translate(x, down, right, low)
    if "cutout" in policy:
        row, column = (_uniform(x, generator, 0, side).flatten() for side in x.shape[2:])
        x = cut_out(x, row, column, low)
    return x


def _uniform(x: Tensor, generator: torch.Generator | None, low: float = 0.0, high: float = 1.0) -> Tensor:
    """One number for each image, (B, 1, 1, 1)."""
    return torch.rand(len(x), 1, 1, 1, device=x.device, dtype=x.dtype, generator=generator) * (high - low) + low


def colour(x: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor, span: float | Tensor = 1.0) -> Tensor:
    """Add up to a quarter of ``span`` either way, multiply distances from grey by 0 to 2, from the mean by 0.5 to 1.5.

    The three numbers are (B, 1, 1, 1), in [0, 1]; ``span`` is from black to white.
    """
    x = x + (brightness - 0.5) * (0.5 * span)
    if x.shape[1] > 1:
        grey = x.mean(1, keepdim=True)
        x = grey + (x - grey) * (2 * saturation)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (contrast + 0.5)


def translate(x: Tensor, down: Tensor, right: Tensor, low: float | Tensor = 0.0) -> Tensor:
    """Shift each image (B, C, H, W) by (B,) whole pixels, and fill with ``low``.

    >>> translate(torch.tensor([[[[1.0, 2.0, 3.0]]]]), torch.tensor([0]), torch.tensor([1]))
    tensor([[[[0., 1., 2.]]]])
    """
    count, _, height, width = x.shape
    rows = torch.arange(height, device=x.device) - down.view(-1, 1)  # where each row comes from
    columns = torch.arange(width, device=x.device) - right.view(-1, 1)
    inside = ((rows >= 0) & (rows < height)).unsqueeze(2) & ((columns >= 0) & (columns < width)).unsqueeze(1)
    place = (rows.clamp(0, height - 1) * width).unsqueeze(2) + columns.clamp(0, width - 1).unsqueeze(1)
    moved = x.flatten(2).gather(2, place.view(count, 1, -1).expand(-1, x.shape[1], -1)).view(x.shape)
    return torch.where(inside.unsqueeze(1), moved, torch.as_tensor(low, dtype=x.dtype, device=x.device))


def cut_out(x: Tensor, row: Tensor, column: Tensor, low: float | Tensor = 0.0) -> Tensor:
    """Fill a rectangle of half the sides, around the place (``row``, ``column``), (B,) each in pixels, with ``low``."""
    height, width = x.shape[2:]
    rows = (torch.arange(height, device=x.device) + 0.5 - row.view(-1, 1)).abs() < height / 4
    columns = (torch.arange(width, device=x.device) + 0.5 - column.view(-1, 1)).abs() < width / 4
    hole = (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)
    return torch.where(hole, torch.as_tensor(low, dtype=x.dtype, device=x.device), x)
