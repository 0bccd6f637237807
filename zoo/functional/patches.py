"""Images as rows of square patches, and the positions of these."""

import math

import torch
from torch import Tensor

_LONGEST = 20  # wavelength of positions, in units of the shortest


def patchify(x: Tensor, patch: int) -> Tensor:
    """Images (B, C, H, W) to rows of pixels (B, L, C * patch * patch), L patches from left to right and top to bottom.

    >>> patchify(torch.arange(8.0).view(1, 1, 2, 4), 2)
    tensor([[[0., 1., 4., 5.],
             [2., 3., 6., 7.]]])
    """
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // patch, patch, w // patch, patch)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(b, h // patch * (w // patch), c * patch * patch)


def unpatchify(rows: Tensor, patch: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of ``patchify``: rows (B, L, C * patch * patch) of a grid (h, w) to images (B, C, H, W)."""
    (h, w), b = grid, len(rows)
    x = rows.reshape(b, h, w, -1, patch, patch)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(b, -1, h * patch, w * patch)


def positions_2d(rows: Tensor, columns: Tensor, width: int) -> Tensor:
    """Sines and cosines of the places of a grid of patches, a half of the numbers for each of the two axes.

    Their wavelengths are 2 to 40 patches. MAE's are 6 to 63,000, as those of text: in a grid of 4 x 4 to 14 x 14 most
    of them are as good as constant, and small networks learn little from the rest.

    Args:
        rows: Places along the height, (h,), in patches; those between two patches are allowed.
        columns: Places along the width, (w,).
        width: Numbers of a position, D, a multiple of 4.

    Returns:
        (h * w, D), row by row.
    """
    steps = torch.arange(width // 4, device=rows.device, dtype=rows.dtype) / max(1, width // 4 - 1)
    frequencies = math.pi * _LONGEST**-steps
    down, across = (
        torch.cat([a.sin(), a.cos()], 1) for a in (rows[:, None] * frequencies, columns[:, None] * frequencies)
    )
    h, w = len(rows), len(columns)
    return torch.cat([down[:, None].expand(h, w, -1), across.expand(h, w, -1)], 2).flatten(0, 1)
