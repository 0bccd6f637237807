"""A self-organising map to look at: how far apart its units are, who lives where, and what the units look like."""

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import make_grid

from callbacks.figures import PictureCallback, class_labels, save_figure, to_unit

_HEXAGON = np.stack([np.sin(np.arange(6) * np.pi / 3), np.cos(np.arange(6) * np.pi / 3)], 1) / np.sqrt(3)
_SQUARE = np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, 0.5], [0.5, -0.5]])


class SOMMap(PictureCallback):
    """``map.png``: distances between neighbouring units (the U-matrix, Ultsch & Siemon 1990), hits, and labels where
    there are; ``units.png``: the units as pictures, or a map of each number for vectors.

    For modules with ``grid`` (rows, columns, *input_shape), ``winners(x)`` and, of their hyperparameters, ``topology``
    and ``torus``; idle with others.

    Args:
        every_n_epochs: how often while training; 0 only at the end.
        planes: numbers that get a map of their own, at most.
    """

    def __init__(self, every_n_epochs: int = 0, planes: int = 16) -> None:
        super().__init__(every_n_epochs)
        if planes < 1:
            raise ValueError(f"planes must be 1 or more; got {planes}")
        self.planes = planes
        self._winners: list[Tensor] = []
        self._labels: list[Tensor] = []

    def collect(self, module: Any, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Each sample's unit and label."""
        if hasattr(module, "grid") and hasattr(module, "winners") and "input" in batch:
            self._winners.append(module.winners(batch["input"]).cpu())
            self._labels.append(class_labels(batch).cpu())

    def draw(self, trainer: pl.Trainer, module: Any) -> None:
        """Both pictures."""
        if not self._winners:
            return
        winners, labels = torch.cat(self._winners), torch.cat(self._labels)
        self._winners, self._labels = [], []
        grid = module.grid.float().cpu()
        hexagonal, torus = module.hparams.topology == "hexagonal", bool(module.hparams.torus)
        save_figure(_map_figure(grid, winners, labels, hexagonal, torus), self.folder, "map")
        if grid.ndim == 5 and grid.shape[2] in (1, 3):
            save_figure(_picture_figure(to_unit(grid.flatten(0, 1), trainer), grid.shape[1]), self.folder, "units")
        else:
            names = getattr(getattr(trainer, "datamodule", None), "columns", None)
            save_figure(_plane_figure(grid.flatten(2), names, self.planes, hexagonal), self.folder, "units")


def neighbour_distances(grid: Tensor, hexagonal: bool, torus: bool) -> Tensor:
    """Each unit's mean distance from those that touch it: (rows, columns, D) to (rows, columns)."""
    rows, columns = grid.shape[:2]
    total, count = torch.zeros(rows, columns), torch.zeros(rows, columns)
    down, right = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    for dy, dx in [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]:
        y, x = down + dy, right + dx
        inside = torch.ones_like(y, dtype=torch.bool) if torus else (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
        if hexagonal and dy:  # of the row above, or below, a unit touches two: its own column's and one beside it
            inside &= (dx == 0) | (dx == 2 * (down % 2) - 1)
        distance = (grid - grid[y % rows, x % columns]).norm(dim=2)
        total += distance * inside
        count += inside
    return total / count.clamp_min(1)


def majority(winners: Tensor, labels: Tensor, units: int) -> Tensor:
    """The most frequent label among each unit's samples, -1 where there is none: (N,), (N,) to (units,)."""
    known = labels >= 0
    if not known.any():
        return torch.full((units,), -1)
    classes = int(labels.max()) + 1
    counts = torch.bincount(winners[known] * classes + labels[known], minlength=units * classes).view(units, classes)
    return torch.where(counts.sum(1) > 0, counts.argmax(1), -1)


def _cells(axes: Axes, values: Tensor, hexagonal: bool, cmap: str, **options: Any) -> PolyCollection:
    """Values (rows, columns) as coloured squares or hexagons; NaN stays white."""
    rows, columns = values.shape
    y, x = np.meshgrid(np.arange(rows, dtype=float), np.arange(columns, dtype=float), indexing="ij")
    if hexagonal:
        x, y = x + (y % 2) / 2, y * np.sqrt(3) / 2
    centres = np.stack([x.ravel(), y.ravel()], 1)
    shape = _HEXAGON if hexagonal else _SQUARE
    cells = PolyCollection(centres[:, None] + shape[None], cmap=cmap, edgecolors="face", linewidths=0.2, **options)
    cells.set_array(np.ma.masked_invalid(values.numpy().ravel()))
    axes.add_collection(cells)
    axes.set(xlim=(x.min() - 0.6, x.max() + 0.6), ylim=(y.max() + 0.65, y.min() - 0.65), aspect="equal")
    axes.axis("off")
    return cells


def _map_figure(grid: Tensor, winners: Tensor, labels: Tensor, hexagonal: bool, torus: bool) -> Figure:
    rows, columns = grid.shape[:2]
    labelled = bool((labels >= 0).any())
    figure = Figure(figsize=((3 if labelled else 2) * 4.2, 0.6 + 3.6 * max(0.5, rows / columns)), layout="constrained")
    panels = list(figure.subplots(1, 3 if labelled else 2).flat)
    distances = neighbour_distances(grid.flatten(2), hexagonal, torus)
    hits = torch.bincount(winners, minlength=rows * columns).view(rows, columns).float()
    drawn = [("distance to neighbouring units", distances, "bone_r"), ("samples of a unit", hits, "viridis")]
    for axes, (title, values, cmap) in zip(panels, drawn, strict=False):
        figure.colorbar(_cells(axes, values, hexagonal, cmap), ax=axes, shrink=0.7)
        axes.set_title(title, fontsize=10)
    if labelled:
        most = majority(winners, labels, rows * columns).view(rows, columns).float()
        most[most < 0] = torch.nan
        classes = int(labels.max()) + 1
        cells = _cells(panels[2], most, hexagonal, "tab10" if classes <= 10 else "turbo")
        cells.set_clim(-0.5, max(10, classes) - 0.5)
        panels[2].set_title("most frequent label", fontsize=10)
        bar = figure.colorbar(cells, ax=panels[2], shrink=0.7, ticks=range(classes) if classes <= 20 else None)
        bar.ax.set_ylim(-0.5, classes - 0.5)
    return figure


def _picture_figure(images: Tensor, columns: int) -> Figure:
    tiles = make_grid(images, nrow=columns, padding=1, pad_value=1.0).permute(1, 2, 0)
    height, width = tiles.shape[:2]
    figure = Figure(figsize=(9, 9 * height / width + 0.4), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(tiles.numpy(), interpolation="nearest")
    axes.set_title("units, each in its place on the map", fontsize=10)
    axes.axis("off")
    return figure


def _plane_figure(grid: Tensor, names: Any, most: int, hexagonal: bool) -> Figure:
    count = min(grid.shape[2], most)
    across = min(4, count)
    down = -(-count // across)
    figure = Figure(figsize=(across * 2.7, down * 2.5 + 0.3), layout="constrained")
    panels = np.atleast_1d(figure.subplots(down, across, squeeze=False)).flat
    for i, axes in enumerate(panels):
        axes.axis("off")
        if i < count:
            figure.colorbar(_cells(axes, grid[:, :, i], hexagonal, "viridis"), ax=axes, shrink=0.7)
            axes.set_title(str(names[i]) if names is not None and len(names) > i else f"number {i}", fontsize=9)
    rest = f" (the first {count} of {grid.shape[2]})" if count < grid.shape[2] else ""
    figure.suptitle(f"what the units hold, number by number{rest}", fontsize=10)
    return figure
