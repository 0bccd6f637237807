"""What principal components look like, and how much of the variance they hold."""

from collections.abc import Mapping
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from callbacks.figures import FigureCallback, FigureText, input_key_of
from zoo.core.arguments import at_least
from zoo.core.findings import PERCENT, Finding, Reference

_MARKS = (0.9, 0.95, 0.99)  # shares of the variance that people ask for


class PrincipalComponents(FigureCallback):
    """``components.png``: the mean and the first components as images; ``scree.png``: the variances, and their sum.

    For modules with ``components_`` (K, D), ``mean_`` (D,), ``explained_variance_ratio_`` (K,), ``explained_variance_``
    (K,), ``spectrum_`` (all variances) and ``n_samples_``, 0 as long as nothing is found. Components are images where
    inputs are.

    Args:
        components: Number of components shown at most.
        every_n_epochs: Epochs between figures while training; 0 draws only at the end.

    Raises:
        ValueError: an argument out of its range.
    """

    figures: ClassVar = {
        "components": FigureText(
            "Mean and components", "The first show what differs most; late ones look like noise.", 5
        ),
        "scree": FigureText("Variance by component", "Where the curve bends, more components add little.", 8),
    }

    def __init__(self, components: int = 23, every_n_epochs: int = 25) -> None:
        super().__init__(every_n_epochs)
        at_least(1, components=components)
        self.components = components
        self._shape: torch.Size | None = None

    def findings(self, trainer: pl.Trainer, module: Any) -> list[Finding]:
        """How much of the variance the components keep, for the run's table and report."""
        if not hasattr(module, "components_") or not getattr(module, "n_samples_", 0):
            return []
        count, dim = module.components_.shape
        meaning = f"share of the training data's variance that {count} of {dim} dimensions keep; more is better"
        random = Reference("as many random directions", count / dim)
        share = module.explained_variance_ratio_.sum().item()
        return [Finding("variance", "variance kept", share, meaning, PERCENT, references=(random,))]

    def collect(self, module: pl.LightningModule, batch: Mapping[str, Any], batch_idx: int, outputs: Any) -> None:
        """Keep the shape of an input."""
        x = batch.get(input_key_of(module))
        self._shape = None if x is None else x.shape[1:]

    def draw(self, trainer: pl.Trainer, module: Any) -> None:
        """Draw both figures, as far as they make sense."""
        if not hasattr(module, "components_") or not getattr(module, "n_samples_", 0):
            return
        ratio = module.explained_variance_ratio_.detach().cpu()
        total = (module.explained_variance_[0].cpu() / ratio[0]).item() if ratio[0] > 0 else 1.0
        self.save(trainer, scree(module.spectrum_.detach().cpu() / total, len(ratio)), "scree")
        if self._shape is not None and len(self._shape) == 3 and self._shape[0] in (1, 3):
            axes = module.components_[: self.components].detach().float().cpu().unflatten(1, tuple(self._shape))
            mean = module.mean_.detach().float().cpu().view(self._shape)
            self.save(trainer, component_grid(mean, axes, ratio), "components")


def component_grid(mean: Tensor, components: Tensor, ratio: Tensor) -> Figure:
    """The mean, then components, each with its share of the variance: (C, H, W), (K, C, H, W) and (K,).

    Grey components are red where they are positive, blue where negative and white at 0; those of colour images are
    grey at 0. Each has a scale of its own.
    """
    count = 1 + len(components)
    rows = -(-count // 8)
    columns = -(-count // rows)
    height, width = mean.shape[1:]
    side = 1.25
    figure = Figure(figsize=(max(columns, 4) * side, rows * (side * height / width + 0.22) + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for panel in panels:
        panel.set_axis_off()
    low, high = mean.min(), mean.max()
    grey = len(mean) == 1
    shown = (mean - low) / (high - low).clamp_min(1e-12)
    panels[0].imshow(shown.permute(1, 2, 0).numpy(), cmap="gray" if grey else None, vmin=0, vmax=1)
    panels[0].set_title("mean", fontsize=8, pad=2)
    for i, component in enumerate(components):
        largest = component.abs().max().clamp_min(1e-12)
        image = (0.5 + 0.5 * component / largest).permute(1, 2, 0).numpy()
        panels[i + 1].imshow(image, cmap="RdBu_r" if grey else None, vmin=0, vmax=1)
        panels[i + 1].set_title(f"{i + 1}: {ratio[i]:.1%}", fontsize=8, pad=2)
    signs = "red positive, blue negative" if grey else "grey is zero"
    figure.suptitle(f"principal components and their explained variance ({signs})", fontsize=10)
    return figure


def scree(shares: Tensor, kept: int) -> Figure:
    """Each component's share of the variance on a logarithmic scale, and their sum; those kept in colour.

    Args:
        shares: Shares of all directions, descending.
        kept: Number of components that are kept, K.
    """
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    number = torch.arange(1, len(shares) + 1)
    known = shares > 1e-12  # of a logarithmic axis 0 is no point
    style = {"marker": ".", "ms": 5 if len(shares) <= 100 else 2, "ls": "-", "lw": 1}
    left.plot(number[known], shares[known], color="0.7", **style)
    left.plot(number[:kept][known[:kept]], shares[:kept][known[:kept]], color="#2c5f8a", **style)
    left.set_yscale("log")
    left.set_title("explained variance ratio", fontsize=10)
    cumulative = shares.cumsum(0)
    right.plot(number, cumulative, color="0.7", lw=1.5)
    right.plot(number[:kept], cumulative[:kept], color="#2c5f8a", lw=2)
    right.plot([kept], [cumulative[kept - 1]], "o", color="#2c5f8a", ms=5)
    for mark in _MARKS:
        if cumulative[-1] >= mark:
            needed = int((cumulative < mark).sum()) + 1
            right.plot([1, needed, needed], [mark, mark, 0], color="0.6", lw=0.8, ls=(0, (2, 2)))
    needs = [f"{m:.0%}: {int((cumulative < m).sum()) + 1}" for m in _MARKS if cumulative[-1] >= m]
    right.text(0.97, 0.06, "\n".join(["components needed", *needs]), transform=right.transAxes, ha="right", fontsize=8)
    right.set_title(f"cumulative: {kept} explain {cumulative[kept - 1]:.1%}", fontsize=10)
    right.set_ylim(0, 1.03)
    for axes in (left, right):
        axes.set_xlabel("component", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
