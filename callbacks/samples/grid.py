"""Figures of what a generative module makes: reconstructions, samples and interpolations."""

from collections.abc import Mapping
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import make_grid

from callbacks.figures import FigureCallback, FigureText, denormalised, input_key_of
from zoo.core.arguments import at_least
from zoo.functional.randomness import fixed_randomness


class SampleGrid(FigureCallback):
    """``reconstructions.png`` (needs ``reconstruct(batch)``), ``samples.png`` (``sample(n)``) and
    ``interpolations.png`` (``interpolate(start, end, steps)``, or from noise to noise ``walk(rows, steps)``), each for
    modules that offer it.

    Args:
        columns: Number of images in a row.
        rows: Number of rows of samples and interpolations; reconstructions have as many pairs of rows.
        every_n_epochs: Epochs between figures while training; 0 draws only at the end.

    Raises:
        ValueError: an argument out of its range.
    """

    figures: ClassVar = {
        "reconstructions": FigureText(
            "Reconstructions", "Each lower row should be the image above it. What is blurred was not kept.", 15
        ),
        "samples": FigureText("Samples", "New images, none of them from the data: varied, and of all kinds?", 50),
        "interpolations": FigureText(
            "Interpolations", "From left to right in small steps: every image between should look real, too.", 55
        ),
    }

    def __init__(self, columns: int = 12, rows: int = 4, every_n_epochs: int = 25) -> None:
        super().__init__(every_n_epochs)
        at_least(2, columns=columns)
        at_least(1, rows=rows)
        self.columns, self.rows = columns, rows
        self._batch: dict[str, Any] | None = None

    def collect(self, module: pl.LightningModule, batch: Mapping[str, Any], batch_idx: int, outputs: Any) -> None:
        """Keep the first batch's first images."""
        x = batch.get(input_key_of(module))
        if batch_idx == 0 and x is not None and x.ndim == 4 and x.shape[1] in (1, 3):
            size = min(len(x), self.columns * self.rows)
            self._batch = {key: v[:size] for key, v in batch.items() if isinstance(v, Tensor) and len(v) == len(x)}

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Draw all grids that the module can fill."""
        if self._batch is None:
            return
        batch, self._batch = self._batch, None
        grids = {
            "reconstructions": ("inputs above, reconstructions below", self._reconstructions),
            "samples": ("samples", self._samples),
            "interpolations": ("interpolations from one image (left) to another (right)", self._interpolations),
        }
        stage = f"epoch {trainer.current_epoch + 1}" if trainer.state.fn == "fit" else "best checkpoint"
        for name, (title, make) in grids.items():
            # The same samples at every epoch: progress is seen.
            with torch.no_grad(), fixed_randomness(0, module.device):
                images = make(module, batch)
            if images is not None:
                self.save(trainer, self._figure(denormalised(images, trainer), f"{title} - {stage}"), name)

    def _reconstructions(self, module: Any, batch: dict[str, Tensor]) -> Tensor | None:
        if not hasattr(module, "reconstruct") or not getattr(module, "reconstructs_from_features", True):
            return None
        x = batch[input_key_of(module)]
        pairs = zip(x.split(self.columns), module.reconstruct(batch).split(self.columns), strict=True)
        return torch.cat(
            [row for pair in pairs if len(pair[0]) == self.columns or len(x) < self.columns for row in pair]
        )

    def _samples(self, module: Any, batch: dict[str, Tensor]) -> Tensor | None:
        if not hasattr(module, "sample"):
            return None
        try:
            return module.sample(self.columns * self.rows)
        except ValueError:  # this variant of the module has nothing to sample from
            return None

    def _interpolations(self, module: Any, batch: dict[str, Tensor]) -> Tensor | None:
        x = batch[input_key_of(module)]
        if hasattr(module, "walk"):
            return module.walk(self.rows, self.columns).flatten(0, 1)
        rows = min(self.rows, len(x) // 2)
        if not hasattr(module, "interpolate") or rows == 0:
            return None
        return module.interpolate(x[:rows], x[rows : 2 * rows], self.columns).flatten(0, 1)

    def _figure(self, images: Tensor, title: str) -> Figure:
        grid = make_grid(images, nrow=min(self.columns, len(images)), padding=1, pad_value=1.0).permute(1, 2, 0)
        height, width = grid.shape[:2]
        figure = Figure(figsize=(9, 9 * height / width + 0.4), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(grid.numpy(), interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.axis("off")
        return figure
