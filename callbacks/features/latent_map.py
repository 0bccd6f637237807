"""A map of the feature space."""

from collections.abc import Mapping
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from callbacks.figures import FigureCallback, FigureText, input_key_of
from callbacks.outputs import features_of, has_features
from zoo.core.arguments import at_least
from zoo.core.batch import class_labels


class LatentMap(FigureCallback):
    """``latent_map.png``: features of evaluated inputs on their first two principal components, coloured by label.

    For modules with ``encode(x) -> (B, D)``; inputs without labels, and labels of -1, are grey.

    Args:
        points: Number of inputs at most.
        every_n_epochs: Epochs between figures while training; 0 draws only at the end.

    Raises:
        ValueError: an argument out of its range.
    """

    figures: ClassVar = {
        "latent_map": FigureText(
            "Map of the features",
            "Each dot is an input. One colour in one place: the class can be told from the features. "
            "Two dimensions show less than there is.",
            30,
        ),
    }

    def __init__(self, points: int = 2000, every_n_epochs: int = 25) -> None:
        super().__init__(every_n_epochs)
        at_least(3, points=points)
        self.points = points
        self._features: list[Tensor] = []
        self._labels: list[Tensor] = []

    def collect(self, module: pl.LightningModule, batch: Mapping[str, Any], batch_idx: int, outputs: Any) -> None:
        """Keep features until there are points enough."""
        missing, key = self.points - sum(map(len, self._features)), input_key_of(module)
        if missing <= 0 or key not in batch or not has_features(module):
            return
        self._features.append(features_of(module, outputs, batch)[:missing])
        self._labels.append(class_labels(batch, key)[:missing])

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Draw the map of what was collected."""
        if not self._features:
            return
        features, labels = torch.cat(self._features).cpu(), torch.cat(self._labels).cpu()
        self._features, self._labels = [], []
        if len(features) < 3 or not self.finite(features, "features"):
            return
        points, share = principal_plane(features)
        self.save(trainer, _map_figure(points, labels, share), "latent_map")


def _map_figure(points: Tensor, labels: Tensor, share: float) -> Figure:
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.add_subplot()
    x, y = points.unbind(1)
    unknown = labels < 0
    axes.scatter(x[unknown], y[unknown], s=6, color="0.7", linewidths=0)
    if not unknown.all():
        few = labels.max() < 10
        colours = "tab10" if few else "nipy_spectral"
        known = axes.scatter(x[~unknown], y[~unknown], s=8, c=labels[~unknown], cmap=colours, linewidths=0)
        axes.legend(*known.legend_elements(num=None if few else 10, fmt="{x:.0f}"), title="label", fontsize=8)  # type: ignore[arg-type]
    axes.set_title(
        f"features of {len(points)} inputs on the first two principal components ({share:.0%} of the variance)",
        fontsize=10,
    )
    axes.set_aspect("equal", adjustable="datalim")
    return figure


def principal_plane(features: Tensor) -> tuple[Tensor, float]:
    """Project (N, D) onto the first two principal components: (N, 2), and the share of the variance they hold."""
    centred = (features - features.mean(0)).double()
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    plane = torch.zeros(len(features), 2)
    plane[:, : min(2, len(s))] = (u * s)[:, :2].float()
    total = s.square().sum().item()
    return plane, s[:2].square().sum().item() / total if total > 0 else 1.0
