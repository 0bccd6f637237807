"""Figures of a self-organising map: distances between its units, hits and labels, and the units themselves."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import lightning.pytorch as pl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from sklearn.cluster import KMeans
from torch import Tensor
from torchvision.utils import make_grid

from callbacks.figures import FigureCallback, FigureText, denormalised, input_key_of
from zoo.core.arguments import at_least
from zoo.core.batch import class_labels
from zoo.core.distributed import training_batches
from zoo.core.findings import PERCENT, Finding, Reference
from zoo.functional.intervals import independent_difference, wilson

_HEXAGON = np.stack([np.sin(np.arange(6) * np.pi / 3), np.cos(np.arange(6) * np.pi / 3)], 1) / np.sqrt(3)
_CENTRES_FROM = 5000  # training samples for k-means
_UNITS = "best_matching_units"  # a method of the module, and what its steps return
_SQUARE = np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, 0.5], [0.5, -0.5]])


class SOMMap(FigureCallback):
    """``map.png``: distances between neighbouring units (the U-matrix, Ultsch & Siemon 1990), hits, and labels where
    there are; ``units.png``: the units as images, or a component plane of each number for vectors.

    For modules with ``grid`` (rows, columns, *input_shape), ``best_matching_units(x)`` and, of their hyperparameters,
    ``topology`` and ``torus``; idle with others.

    Args:
        every_n_epochs: Epochs between figures while training; 0 draws only at the end.
        planes: Number of component planes at most.

    Raises:
        ValueError: an argument out of its range.
    """

    figures: ClassVar = {
        "map": FigureText(
            "The map", "Dark ridges on the left part regions of like samples; a class should keep to one.", 5
        ),
        "units": FigureText("The units", "Neighbours should look alike: the map is smooth where they do.", 8),
    }

    def __init__(self, every_n_epochs: int = 0, planes: int = 16) -> None:
        super().__init__(every_n_epochs)
        at_least(1, planes=planes)
        self.planes = planes
        self._units: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._inputs: list[Tensor] = []  # of a test
        self._findings: list[Finding] = []

    def findings(self, trainer: pl.Trainer, module: pl.LightningModule) -> list[Finding]:
        """The map's two errors at the last test, for the run's table and report."""
        return self._findings

    def collect(self, module: Any, batch: Mapping[str, Any], batch_idx: int, outputs: Any) -> None:
        """Keep each sample's best matching unit and label."""
        key, find = input_key_of(module), getattr(module, _UNITS, None)
        if not hasattr(module, "grid") or find is None or key not in batch:
            return
        units = outputs.get(_UNITS) if isinstance(outputs, dict) else None
        self._units.append(find(batch[key]) if units is None else units)
        self._labels.append(class_labels(batch, key))
        if module.trainer.testing:
            self._inputs.append(batch[key].flatten(1).float())

    def draw(self, trainer: pl.Trainer, module: Any) -> None:
        """Draw both figures."""
        if not self._units:
            return
        units, labels = torch.cat(self._units).cpu(), torch.cat(self._labels).cpu()
        self._units, self._labels = [], []
        if self._inputs:
            self._findings = map_findings(trainer, module, torch.cat(self._inputs))
            self._inputs = []
        grid = module.grid.float().cpu()
        hexagonal, torus = module.hparams.topology == "hexagonal", bool(module.hparams.torus)
        self.save(trainer, _map_figure(grid, units, labels, hexagonal, torus), "map")
        if grid.ndim == 5 and grid.shape[2] in (1, 3):
            images = denormalised(grid.flatten(0, 1), trainer)
            self.save(trainer, _unit_figure(images, grid.shape[1]), "units")
        else:
            names = getattr(getattr(trainer, "datamodule", None), "columns", None)
            self.save(trainer, _plane_figure(grid.flatten(2), names, self.planes, hexagonal), "units")


def neighbour_distances(grid: Tensor, hexagonal: bool, torus: bool) -> Tensor:
    """Each unit's mean distance from those that touch it: (rows, columns, D) to (rows, columns)."""
    rows, columns = grid.shape[:2]
    total, count = torch.zeros(rows, columns), torch.zeros(rows, columns)
    for y, x, inside in _neighbours(rows, columns, hexagonal, torus):
        distance = (grid - grid[y % rows, x % columns]).norm(dim=2)
        total += distance * inside
        count += inside
    return total / count.clamp_min(1)


def _neighbours(rows: int, columns: int, hexagonal: bool, torus: bool) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Row, column and existence of each unit's neighbours, (rows, columns) each, direction by direction."""
    down, right = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    for dy, dx in [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]:
        y, x = down + dy, right + dx
        inside = torch.ones_like(y, dtype=torch.bool) if torus else (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
        if hexagonal and dy:  # of the row above, or below, a unit touches two: its own column's and one beside it
            inside &= (dx == 0) | (dx == 2 * (down % 2) - 1)
        yield y, x, inside


def map_findings(trainer: Any, module: Any, inputs: Tensor) -> list[Finding]:
    """Topographic and quantisation error of a test, compared with an unordered map, a single unit and k-means.

    Args:
        trainer: Trainer that tested.
        module: The map.
        inputs: Test inputs (M, D).
    """
    metrics, (rows, columns) = trainer.callback_metrics, module.grid.shape[:2]
    adjacent = sum(
        int(inside.sum()) for *_, inside in _neighbours(rows, columns, module.hparams.topology == "hexagonal",
                                                        bool(module.hparams.torus)))  # fmt: skip
    unordered = 1 - adjacent / (rows * columns) / (rows * columns - 1)
    n, apart = len(inputs), metrics["test/topographic_error"].item()
    chance = independent_difference(apart, n, unordered, n)
    order = Reference("a map without order", unordered, None, chance, baseline=True)
    topographic = "samples whose two nearest units are not adjacent; less is better"
    quantisation = "mean distance of a sample from its unit, in the data's units; less is better"
    mean = Reference("a single unit", (inputs - inputs.mean(0)).norm(dim=1).mean().item())
    references = (mean, *_kmeans(trainer, module, inputs, rows * columns))
    return [
        Finding("map", "topographic error", apart, topographic, PERCENT, n, wilson(apart * n, n), (order,), False,
                "topographic_error"),
        Finding("map", "quantisation error", metrics["test/loss"].item(), quantisation, samples=n,
                references=references, higher_is_better=False, metric="loss"),
    ]  # fmt: skip


def _kmeans(trainer: Any, module: Any, inputs: Tensor, units: int) -> list[Reference]:
    """The error of as many centres that need keep no order, from this process's training samples."""
    train: list[Tensor] = []
    for batch in training_batches(trainer, input_key_of(module)):
        train.append(batch[input_key_of(module)].flatten(1).float().cpu())
        if sum(map(len, train)) >= _CENTRES_FROM:
            break
    rows = torch.cat(train)[:_CENTRES_FROM] if train else inputs[:0]
    if len(rows) < units:
        return []
    centres = KMeans(units, n_init=1, max_iter=50, random_state=0).fit(rows.numpy()).cluster_centers_
    distances = torch.cdist(inputs.cpu(), torch.from_numpy(centres).to(inputs.dtype))
    return [Reference("as many centres of k-means", distances.amin(1).mean().item())]


def majority(units: Tensor, labels: Tensor, count: int) -> Tensor:
    """The most frequent label among the samples of each of ``count`` units, -1 where there is none.

    Args:
        units: Best matching unit of each sample, (N,) long.
        labels: Labels (N,) long, -1 for unlabelled samples.
        count: Number of units, U.

    Returns:
        (U,) long.
    """
    known = labels >= 0
    if not known.any():
        return torch.full((count,), -1)
    classes = int(labels.max()) + 1
    counts = torch.bincount(units[known] * classes + labels[known], minlength=count * classes).view(count, classes)
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


def _map_figure(grid: Tensor, units: Tensor, labels: Tensor, hexagonal: bool, torus: bool) -> Figure:
    rows, columns = grid.shape[:2]
    labelled = bool((labels >= 0).any())
    figure = Figure(figsize=((3 if labelled else 2) * 4.2, 0.6 + 3.6 * max(0.5, rows / columns)), layout="constrained")
    panels = list(figure.subplots(1, 3 if labelled else 2).flat)
    distances = neighbour_distances(grid.flatten(2), hexagonal, torus)
    hits = torch.bincount(units, minlength=rows * columns).view(rows, columns).float()
    drawn = [
        ("U-matrix: distance to neighbouring units", distances, "bone_r"),
        ("hits: samples of a unit", hits, "viridis"),
    ]
    for axes, (title, values, cmap) in zip(panels, drawn, strict=False):
        figure.colorbar(_cells(axes, values, hexagonal, cmap), ax=axes, shrink=0.7)
        axes.set_title(title, fontsize=10)
    if labelled:
        most = majority(units, labels, rows * columns).view(rows, columns).float()
        most[most < 0] = torch.nan
        classes = int(labels.max()) + 1
        cells = _cells(panels[2], most, hexagonal, "tab10" if classes <= 10 else "turbo")
        cells.set_clim(-0.5, max(10, classes) - 0.5)
        panels[2].set_title("most frequent label", fontsize=10)
        bar = figure.colorbar(cells, ax=panels[2], shrink=0.7, ticks=range(classes) if classes <= 20 else None)
        bar.ax.set_ylim(-0.5, classes - 0.5)
    return figure


def _unit_figure(images: Tensor, columns: int) -> Figure:
    tiles = make_grid(images, nrow=columns, padding=1, pad_value=1.0).permute(1, 2, 0)
    height, width = tiles.shape[:2]
    figure = Figure(figsize=(9, 9 * height / width + 0.4), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(tiles.numpy(), interpolation="nearest")
    axes.set_title("weights of the units, each in its place on the map", fontsize=10)
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
    figure.suptitle(f"component planes: the units' weights, number by number{rest}", fontsize=10)
    return figure
