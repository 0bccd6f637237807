"""Colours of a view: jitter, grey, blur and solarise of whole batches, with numbers of its own for each sample.

Images are (B, C, H, W), float32 in [0, 1]; everything is on their device, and the host waits for nothing.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)  # shares of red, green and blue in a pixel's grey, torchvision's
JITTER = ("brightness", "contrast", "saturation", "hue")
_CONTRAST = JITTER.index("contrast")


def luminance(x: Tensor) -> Tensor:
    """The grey of images, (B, C, ...) to (B, 1, ...): Rec. 601's weights of three colours, else the channels' mean."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    return (x[:, :1] * GREY[0]).add_(x[:, 1:2], alpha=GREY[1]).add_(x[:, 2:], alpha=GREY[2])


def jitter(x: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue, each sample by its own factors and in its own order.

    Each is an affine map of a pixel's colour, a matrix of 3 x 4 numbers a sample, and is clipped to [0, 1] as
    torchvision does: without that the four could be one matrix, but their order would mean nothing, since unclipped
    they commute. Brightness, contrast and saturation are torchvision's. **Hue** is a turn of the colours about the grey
    axis that leaves each pixel's luminance as it is, where HSV (torchvision's) leaves the largest of the three channels
    as it is: the same colours for turns by thirds but for their lightness, and in between the turn is uniform in angle,
    where HSV follows the edges of a hexagon. What gets too bright or too dark is clipped.

    Args:
        x: Images (B, C, H, W) in [0, 1]. Those that have not three channels get brightness and contrast alone.
        factors: Factors of brightness, contrast and saturation, 0 or more, and the turn of hue, in turns (B, 4).
        order: For each place in the sequence, which of the four it is (B, 4), or which of the first two (B, 2).
    """
    matrices = colour_matrices(factors) if x.shape[1] == 3 else factors[:, : order.shape[1], None, None]
    matrices = matrices.gather(1, order[..., None, None].expand(-1, -1, *matrices.shape[2:]))
    lift = torch.where(order == _CONTRAST, 1 - factors[:, _CONTRAST, None], 0.0)  # share of the images' mean grey
    flat = x.flatten(2)  # (B, C, HW)
    for matrix, share in zip(matrices.transpose(0, 1).contiguous(), lift.T[..., None, None], strict=True):
        offset = share * luminance(flat.mean(2, keepdim=True))
        flat = (torch.bmm(matrix, flat) if x.shape[1] == 3 else matrix * flat).add_(offset).clamp_(0, 1)
    return flat.view(x.shape)


def colour_matrices(factors: Tensor) -> Tensor:
    """What brightness, contrast, saturation and hue multiply a pixel's three channels by: (B, 4) to (B, 4, 3, 3).

    Each is a sum of three fixed matrices: the identity, the projection of a colour to its grey P, and the quarter turn
    of what remains, Q: a turn by an angle is P + cos (1 - P) + sin Q. Contrast's share of the images' mean grey is not
    in it: see ``jitter``.
    """
    bright, contrast, saturation, hue = factors.unbind(1)
    cos, sin, none = (2 * math.pi * hue).cos(), (2 * math.pi * hue).sin(), torch.zeros_like(hue)
    same = torch.stack([bright, contrast, saturation, cos], 1)
    grey_share = torch.stack([none, none, (1 - saturation) * sum(GREY), 1 - cos], 1)
    quarter = torch.stack([none, none, none, sin], 1)
    return (torch.stack([same, grey_share, quarter], 2) @ _colour_basis(factors.device)).unflatten(2, (3, 3))


@cache
def _colour_basis(device: torch.device) -> Tensor:
    """The three matrices of ``colour_matrices`` (3, 9), copied to a device once: the host would wait for each copy."""
    identity = torch.eye(3)
    projection = (torch.tensor(GREY) / sum(GREY)).expand(3, 3)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)  # with the unit vector of the greys
    return torch.stack([identity, projection, (identity - projection) @ cross]).flatten(1).to(device)


def grey(x: Tensor) -> Tensor:
    """Images (B, 3, H, W) without their colours; other channels stay."""
    return luminance(x).expand(x.shape) if x.shape[1] == 3 else x


def blur_radius(height: int, width: int) -> int:
    """Pixels to either side that a blur takes in: the kernel is about a tenth of the shorter side, at least 3 pixels
    (Chen et al. 2020, appendix A)."""
    short = min(height, width)
    return min(max(1, short // 20), short - 1)


def blur(x: Tensor, sigma: Tensor, radius: int | None = None) -> Tensor:
    """Gaussian blur, reflected at the edges, as torchvision's ``gaussian_blur``.

    Args:
        x: Images (B, C, H, W).
        sigma: Standard deviation of each sample's kernel (B,), in pixels.
        radius: Pixels to either side of the kernel's middle, less than the sides; None is ``blur_radius``.
    """
    radius = blur_radius(*x.shape[2:]) if radius is None else radius
    distance = torch.arange(radius + 1, device=x.device, dtype=x.dtype)
    kernel = (-0.5 * (distance / sigma.unsqueeze(1)) ** 2).exp()  # (B, radius + 1): from the middle outwards
    kernel = kernel / (2 * kernel.sum(1, keepdim=True) - 1)
    for dim in (2, 3):
        x = _weighted_neighbours(x, kernel, dim)
    return x


def _weighted_neighbours(x: Tensor, kernel: Tensor, dim: int) -> Tensor:
    """One dimension of a symmetric blur: neighbours at each distance (radius + 1) have one weight a sample."""
    weights, size = kernel.T[..., None, None, None], x.shape[dim]  # (radius + 1, B, 1, 1, 1)
    total = x * weights[0]
    for step, weight in enumerate(weights[1:], 1):
        inner = size - step
        total.narrow(dim, step, inner).addcmul_(x.narrow(dim, 0, inner), weight)
        total.narrow(dim, 0, inner).addcmul_(x.narrow(dim, step, inner), weight)
        total.narrow(dim, 0, step).addcmul_(x.narrow(dim, 1, step).flip(dim), weight)  # reflected at either edge
        total.narrow(dim, inner, step).addcmul_(x.narrow(dim, inner - 1, step).flip(dim), weight)
    return total


def solarise(x: Tensor, threshold: float = 0.5) -> Tensor:
    """Images (B, C, H, W), inverted where they are as bright as ``threshold`` or brighter."""
    return torch.where(x >= threshold, 1 - x, x)


def change_chosen(
    x: Tensor, chosen: Tensor, change: Callable[..., Tensor], *own: Tensor, everywhere: bool = False
) -> Tensor:
    """Change some images of a batch, in place where only those are computed, and leave the others.

    Args:
        x: Images (B, C, H, W).
        chosen: Which to change (B,), boolean.
        change: Function of images and of what belongs to each of them, to images of the same shape.
        own: What belongs to each image (B, ...).
        everywhere: Whether to change all and to choose afterwards: on devices where the host would have to wait for
            the number of those chosen.
    """
    if everywhere:
        return torch.where(chosen.view(-1, 1, 1, 1), change(x, *own), x)
    rows = chosen.nonzero().squeeze(1)
    return x.index_copy_(0, rows, change(*(each.index_select(0, rows) for each in (x, *own))))
