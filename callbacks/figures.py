"""What callbacks that draw figures share: when to draw, evaluated batches as mappings, and files written atomically."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import make_grid

from zoo.core.arguments import at_least
from zoo.core.atomic import atomic_write
from zoo.core.batch import INPUT, as_mapping
from zoo.core.renamed import RenamedOptions
from zoo.core.run_dir import run_dir
from zoo.functional.normalisation import denormalise

log = logging.getLogger(__name__)


class FigureText(NamedTuple):
    """What the report says of a figure: its title, what to look at, and its place (the smaller, the earlier)."""

    title: str
    look: str
    rank: int


class FigureCallback(pl.Callback, metaclass=RenamedOptions):
    """Draws after validation every few epochs and at the last, and after testing; on the first process only.

    A subclass defines ``collect(module, batch, batch_idx, outputs)``, called with what is evaluated when a figure is
    due, and ``draw(trainer, module)``, which hands each figure to ``save``. Figures are for looking at: a module that
    lacks what a figure needs gets none. What the report says of them stands in ``figures``, by file name.

    Args:
        every_n_epochs: Epochs between figures while training; 0 draws only at the end.

    Raises:
        ValueError: ``every_n_epochs`` below 0.
    """

    figures: ClassVar[Mapping[str, FigureText]] = {}

    def __init__(self, every_n_epochs: int = 25) -> None:
        at_least(0, every_n_epochs=every_n_epochs)
        self.every_n_epochs = every_n_epochs
        self.folder = Path()
        self._not_finite: set[str] = set()  # what was said to be

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.folder = run_dir(trainer)  # here, since asking for it needs all ranks

    def collect(self, module: pl.LightningModule, batch: Mapping[str, Any], batch_idx: int, outputs: Any) -> None:
        """Keep or compute what the figure needs from a batch.

        Args:
            module: Module that is evaluated.
            batch: Mapping of tensors, whatever the loader gave.
            batch_idx: Number of the batch.
            outputs: What the evaluation step returned, see ``callbacks.outputs``.
        """
        raise NotImplementedError

    def finite(self, values: Tensor, what: str) -> bool:
        """Whether values (N, ...) are finite; where they are not, it is said once that ``what`` is not measured."""
        wrong = int((~values.isfinite()).reshape(len(values), -1).any(1).sum()) if values.numel() else 0
        if wrong and what not in self._not_finite:
            self._not_finite.add(what)
            log.warning("%s: %d of %d are NaN or infinite; they are not measured", what, wrong, len(values))
        return not wrong

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Make the figure, and forget what was collected."""
        raise NotImplementedError

    def save(self, trainer: pl.Trainer, figure: Figure, name: str) -> None:
        """Write ``name``.png into the run's folder, and give it to those of the trainer's loggers that show images.

        Args:
            trainer: Trainer at work.
            figure: Figure.
            name: Name of the file, without ``.png``.
        """
        save_figure(figure, self.folder, name)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                pixels = np.asarray(Image.open(self.folder / f"{name}.png").convert("RGB"))
                logger.experiment.add_image(name, pixels, trainer.global_step, dataformats="HWC")

    def due(self, trainer: pl.Trainer) -> bool:
        """Whether this evaluation ends with a figure."""
        return trainer.is_global_zero and self.due_anywhere(trainer)

    def due_anywhere(self, trainer: pl.Trainer) -> bool:
        """``due``, on all processes alike."""
        if trainer.sanity_checking or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return False
        if trainer.state.fn == "fit":
            epoch = trainer.current_epoch + 1
            return epoch == trainer.max_epochs or (self.every_n_epochs > 0 and epoch % self.every_n_epochs == 0)
        return True

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if dataloader_idx == 0 and self.due(trainer):
            self.collect(pl_module, evaluated(pl_module, batch), batch_idx, outputs)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.due(trainer):
            self.draw(trainer, pl_module)

    on_test_batch_end = on_validation_batch_end
    on_test_end = on_validation_end


def input_key_of(module: Any) -> str:
    """The key of what a module is fed: its ``input_key``, or that of the batch contract for other people's modules."""
    return getattr(module, "input_key", INPUT)


def evaluated(module: Any, batch: Any) -> Mapping[str, Any]:
    """A batch as a mapping; of a sequence, which may be longer than (input, label), the first two.

    Other people's modules may be fed anything: what has no meaning here is taken as the input.
    """
    if not isinstance(batch, Mapping | Sequence | Tensor):
        return {input_key_of(module): batch}
    return as_mapping(batch[:2] if isinstance(batch, Sequence) else batch, input_key_of(module))


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write ``name``.png into ``folder``; an older one of that name is replaced when the new one is complete.

    Names of classes, columns and words are no mathematics, even with dollar signs in them: only axes' numbers are.
    """
    for axes in figure.axes:
        if not axes.axison:  # ticks that nobody sees would be made all the same, which takes longer than the image
            axes.set(xticks=[], yticks=[])
    for text in figure.findobj(Text):
        if "$" in text.get_text() and "\\mathdefault" not in text.get_text():  # type: ignore[attr-defined]
            text.set_parse_math(False)  # type: ignore[attr-defined]
    figure.set_dpi(100)
    canvas = FigureCanvasAgg(figure)  # ``savefig`` draws everything twice
    atomic_write(folder / f"{name}.png", canvas.print_png)


def image_rows(rows: Mapping[str, Tensor], title: str, width: float = 9.0) -> Figure:
    """A row for each name: images (N, C, H, W) in [0, 1], as many in each, stretched to the first row's size.

    Args:
        rows: Images by the name of their row.
        title: Title of the figure.
        width: Width of the figure in inches.
    """
    first = next(iter(rows.values()))
    same = [F.interpolate(row, first.shape[2:]) if row.shape[2:] != first.shape[2:] else row for row in rows.values()]
    tiles = make_grid(torch.cat(same), nrow=len(first), padding=1, pad_value=1.0)
    height, across = tiles.shape[1:]
    figure = Figure(figsize=(width, (width - 0.8) * height / across + 0.5), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(tiles.permute(1, 2, 0).numpy(), interpolation="nearest")
    axes.set_yticks([height * (i + 0.5) / len(rows) for i in range(len(rows))], list(rows))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=10)
    return figure


def denormalised(x: Tensor, trainer: pl.Trainer) -> Tensor:
    """Images (..., C, H, W), normalised as the trainer's data are, to values in [0, 1] on the CPU."""
    normalisation = getattr(getattr(trainer, "datamodule", None), "normalisation", None)
    return denormalise(x.detach().float().cpu(), normalisation)
