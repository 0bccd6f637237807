"""Figures of samples next to real images, and to the training images that they are nearest to."""

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import make_grid

_COLUMNS = 8
_PAIRS = 12


def real_and_fake(real: Tensor, fake: Tensor, caption: str) -> Figure:
    """Two squares: real images (N, C, H, W) uint8 left, samples (M, C, H, W) right."""
    count = max(1, min(len(real), len(fake)))
    rows = -(-count // _COLUMNS)
    height = 4.4 * rows / min(count, _COLUMNS) * real.shape[2] / real.shape[3]
    figure = Figure(figsize=(9, height + 0.4), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, images, title in zip(axes, (real, fake), ("real (held-out images)", f"samples - {caption}"), strict=True):
        _show(ax, images[:count], _COLUMNS, title)
    return figure


def nearest_training(samples: Tensor, train: Tensor, distance: Tensor, held_out: Tensor, share: float) -> Figure:
    """The samples that are nearest to a training image above that image, and all distances with those of
    held-out images.

    Args:
        samples: Images (M, C, H, W) uint8.
        train: Training images nearest to them, (M, C, H, W) uint8.
        distance: Distances between them, (M,).
        held_out: Distances of held-out images from their nearest, (N,).
        share: Share of the samples that count as memorised.
    """
    order = distance.argsort()[:_PAIRS]
    rows = torch.stack([samples[order], train[order]]).flatten(0, 1).cpu()  # samples above, training below
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(1.05, 1))
    title = "samples that are nearest to a training image (above), and that image (below)"
    _show(above, rows, len(order), title)
    top = torch.cat([distance, held_out]).max().item() or 1.0
    for values, colour, label in ((held_out, "0.6", "held-out images"), (distance, "#2c5f8a", "samples")):
        heights = torch.histc(values.float().cpu(), 40, 0, top) / len(values)
        below.stairs(
            heights.numpy(), torch.linspace(0, top, 41).numpy(), fill=colour == "0.6", color=colour, label=label
        )
    fifth = torch.quantile(held_out.float(), 0.05).item()
    below.axvline(fifth, color="#d1742a", lw=1, label="5th percentile of held-out")
    below.set_title(
        f"distance to the nearest training image: {share:.1%} of the samples are below the line (5 % if new)",
        fontsize=10,
    )
    below.set_yticks([])
    below.spines[["top", "right", "left"]].set_visible(False)
    below.legend(fontsize=8, frameon=False)
    return figure


def _show(axes: Axes, images: Tensor, columns: int, title: str) -> None:
    grid = make_grid(images.cpu(), nrow=columns, padding=1, pad_value=255).permute(1, 2, 0)
    axes.imshow(grid.numpy(), interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.axis("off")
