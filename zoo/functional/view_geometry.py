"""Where a view looks: windows, resizing and affine maps of whole batches, with numbers of its own for each sample.

Everything is on the images' device, and the host waits for nothing.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

TRIES = 10  # torchvision's, for a window that fits


def crop_windows(
    tries: Tensor,
    place: Tensor,
    side: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Windows of random area, ratio and place, in whole pixels, distributed as those of torchvision's
    ``RandomResizedCrop`` (Szegedy et al. 2015): the first of ten tries that fits into the image, or else the largest
    window in its middle of a ratio that is allowed.

    Args:
        tries: Uniform numbers (B, 2, 10) for area and ratio of each try.
        place: Uniform numbers (B, 2) for the top and the left edge.
        side: Height and width of the images, in pixels.
        scale: Least and largest area, as shares of the image's; areas are uniform.
        ratio: Least and largest width by height; its logarithm is uniform.

    Returns:
        Top, left, height and width (B, 4), int64, in pixels.
    """
    area = (scale[0] + (scale[1] - scale[0]) * tries[:, 0]) * (side[0] * side[1])
    log_ratio = tuple(map(math.log, ratio))
    stretch = (log_ratio[0] + (log_ratio[1] - log_ratio[0]) * tries[:, 1]).exp()
    height, width = (area / stretch).sqrt().round(), (area * stretch).sqrt().round()  # (B, 10)
    fits = (height > 0) & (height <= side[0]) & (width > 0) & (width <= side[1])
    chosen = F.pad(fits, (0, 1), value=True).long().argmax(1, keepdim=True)  # the first that fits
    middle = _middle(side, ratio)
    height, width = (
        F.pad(each, (0, 1), value=last).gather(1, chosen) for each, last in zip((height, width), middle, strict=True)
    )
    length, image = torch.cat([height, width], 1), _pair(side, place)  # (B, 2)
    drawn = torch.minimum((place * (image - length + 1)).floor(), image - length)
    corner = torch.where(chosen == TRIES, ((image - length) / 2).floor(), drawn)
    return torch.cat([corner, length], 1).long()


def _middle(side: tuple[int, int], ratio: tuple[float, float]) -> tuple[int, int]:
    """Height and width of the largest window of a ratio that is allowed."""
    height, width = side
    if width < height * ratio[0]:
        return max(1, round(width / ratio[0])), width
    if width > height * ratio[1]:
        return height, max(1, round(height * ratio[1]))
    return height, width


def _pair(values: tuple[float, float], like: Tensor) -> Tensor:
    """Two numbers (1, 2) on the device of ``like``, without a copy that the host would wait for."""
    return torch.stack([like.new_full((1,), value) for value in values], 1)


def resize_weights(start: Tensor, length: Tensor, count: int, side: int, reverse: Tensor | None = None) -> Tensor:
    """Matrices (B, count, side) that resize a stretch of each image's rows (or columns) to ``count`` of them.

    They interpolate linearly, with the triangle as wide as a pixel of the coarser of the two grids: the same weights as
    ``interpolate(mode="bilinear", antialias=True)`` of the stretch cut out.

    Args:
        start: First row of each stretch (B,).
        length: Its number of rows (B,).
        count: Rows wanted.
        side: Rows that the images have.
        reverse: Which to mirror (B,), boolean; None is none.
    """
    wanted = torch.arange(count, device=start.device, dtype=torch.float32) + 0.5
    rows = torch.arange(side, device=start.device, dtype=torch.float32)
    step = length.float().unsqueeze(1) / count  # (B, 1) rows between two wanted ones
    if reverse is not None:
        wanted = torch.where(reverse.unsqueeze(1), count - wanted, wanted)
    centre = start.float().unsqueeze(1) + wanted * step - 0.5  # (B, count) among the rows
    inside = (rows >= start.unsqueeze(1)) & (rows < (start + length).unsqueeze(1))  # (B, side)
    rows = torch.where(inside, rows, torch.inf)
    distance = (rows.unsqueeze(1) - centre.unsqueeze(2)).abs_()  # (B, count, side)
    weights = distance.sub_(step.clamp(min=1).unsqueeze(2)).clamp_(max=0)  # all of one sign: normalising turns it
    return weights.div_(weights.sum(2, keepdim=True))


def resized_crop(x: Tensor, window: Tensor, size: tuple[int, int], flip: Tensor | None = None) -> Tensor:
    """A window of each image, resized with antialiasing, and mirrored left to right where ``flip`` says so.

    Two matrices a sample, rows and columns; mirroring is in the second.

    Args:
        x: Images (B, C, H, W), float32.
        window: Top, left, height and width (B, 4), int64, in pixels.
        size: Height and width wanted.
        flip: Which to mirror (B,), boolean; None is none.

    Returns:
        Images (B, C, *size).
    """
    count, channels, height, width = x.shape
    top, left, high, wide = window.unbind(1)
    rows, columns = resize_weights(top, high, size[0], height), resize_weights(left, wide, size[1], width, flip)
    x = torch.bmm(x.reshape(count, channels * height, width), columns.transpose(1, 2))
    return rows.unsqueeze(1) @ x.view(count, channels, height, size[1])


def affine(x: Tensor, angle: Tensor, shift: Tensor, shear: Tensor) -> Tensor:
    """Turn, shear and shift images about their middle, with bilinear interpolation, as torchvision's ``affine`` does.

    What lies outside is the nearest pixel of the edge: paper stays white, and a blackboard black. (torchvision's fills
    with one colour.)

    Args:
        x: Images (B, C, H, W), float32.
        angle: Degrees, clockwise, (B,).
        shift: Pixels down and to the right (B, 2).
        shear: Degrees (B,), of columns to the left going up.

    Returns:
        Images of the same shape.
    """
    height, width = x.shape[2:]
    cos, sin, slope = angle.deg2rad().cos(), angle.deg2rad().sin(), shear.deg2rad().tan()
    inverse = torch.stack([cos - sin * slope, cos * slope + sin, -sin, cos], 1).view(-1, 2, 2)  # of (x, y), in pixels
    moved = (inverse @ -shift.flip(1).unsqueeze(2)).squeeze(2)  # (B, 2)
    side = _pair((width, height), x)
    linear = inverse * side.unsqueeze(1) / side.unsqueeze(2)  # from -1 to 1 across the image, as affine_grid has it
    grid = F.affine_grid(torch.cat([linear, (2 * moved / side).unsqueeze(2)], 2), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)
