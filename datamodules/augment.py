"""Augmentation of whole batches on their device, with parameters of its own for every sample.

Images are (B, C, H, W) floats in [0, 1], and stay as they are: a new batch is returned.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from zoo.core.arguments import between, more_than

_ASPECT = 4 / 3  # of a crop to its image, at most


def random_shift(x: Tensor, pixels: int, generator: Generator | None = None) -> Tensor:
    """Pad by reflection, then crop a window of the old size at a random place (He et al. 2016, section 4.2).

    Args:
        x: Images (B, C, H, W).
        pixels: Width of the padding, less than H and W.
        generator: Source of the randomness, on ``x``'s device.

    Raises:
        ValueError: as much padding as the images are wide or high.
    """
    b, c, h, w = x.shape
    if not 0 <= pixels < min(h, w):
        raise ValueError(f"a shift of {pixels} pixels does not fit images of {h} x {w}")
    padded = F.pad(x, [pixels] * 4, mode="reflect")
    offset = torch.randint(0, 2 * pixels + 1, (2, b, 1), device=x.device, generator=generator)
    rows = offset[0] + torch.arange(h, device=x.device)  # (B, H)
    columns = offset[1] + torch.arange(w, device=x.device)  # (B, W)
    sample = torch.arange(b, device=x.device)[:, None, None, None]
    channel = torch.arange(c, device=x.device)[None, :, None, None]
    return padded[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]


def random_flip(x: Tensor, generator: Generator | None = None) -> Tensor:
    """Mirror images (B, C, H, W) left to right, each with probability 1/2."""
    flipped = torch.rand(len(x), 1, 1, 1, device=x.device, generator=generator) < 0.5
    return torch.where(flipped, x.flip(3), x)


def random_resized_crop(x: Tensor, scale: float, generator: Generator | None = None) -> Tensor:
    """A window of each image at a random place, stretched to the whole size (Szegedy et al. 2015).

    Args:
        x: Images (B, C, H, W).
        scale: Least share of the area that a window has, more than 0 to 1; sides are between 3:4 and 4:3 of what they
            would be if nothing were distorted, as far as the image reaches.
        generator: Source of the randomness, on ``x``'s device.
    """
    more_than(0, crop_scale=scale)
    between(0, 1, crop_scale=scale)
    area, aspect, right, down = torch.rand(4, len(x), device=x.device, generator=generator)
    side, stretch = (scale + (1 - scale) * area).sqrt(), (_ASPECT ** (2 * aspect - 1)).sqrt()
    width, height = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)  # 1 is the whole image
    zero, across, along = torch.zeros_like(width), (1 - width) * (2 * right - 1), (1 - height) * (2 * down - 1)
    window = torch.stack([width, zero, across, zero, height, along], 1).view(-1, 2, 3)
    grid = F.affine_grid(window, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid.to(x.dtype), padding_mode="border", align_corners=False)


def random_rotation(x: Tensor, degrees: float, generator: Generator | None = None) -> Tensor:
    """Turn each image about its middle by up to ``degrees`` to either side; what lies outside is its reflection."""
    between(0, 180, rotate=degrees)
    angle = torch.deg2rad(degrees * (2 * torch.rand(len(x), device=x.device, generator=generator) - 1))
    cos, sin, zero, aspect = angle.cos(), angle.sin(), torch.zeros_like(angle), x.shape[2] / x.shape[3]
    rows = torch.stack([cos, -sin * aspect, zero], 1), torch.stack([sin / aspect, cos, zero], 1)
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid.to(x.dtype), padding_mode="reflection", align_corners=False)


def random_jitter(x: Tensor, strength: float, generator: Generator | None = None) -> Tensor:
    """Multiply contrast (about the mean) and brightness by factors within 1 +- ``strength``; clipped to [0, 1]."""
    between(0, 1, jitter=strength)
    factor = 1 + strength * (2 * torch.rand(2, len(x), 1, 1, 1, device=x.device, generator=generator) - 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    return (torch.lerp(mean, x, factor[0]) * factor[1]).clamp_(0, 1)
