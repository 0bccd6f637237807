"""The same samples again and again while a generator learns: an animation and a strip of it."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.utils import make_grid

from callbacks.figures import FigureCallback, FigureText
from callbacks.samples.draw import first_samples, samples_images
from zoo.core.arguments import at_least
from zoo.core.atomic import atomic_write

_WIDTH = 360  # of the animation, pixels, at least
_SECONDS = 6.0  # it lasts, before it begins again
_STRIP = 8  # rows of the strip


class Frame(NamedTuple):
    """Samples (N, C, H, W) uint8 of fixed noise, after so many epochs and steps."""

    epoch: int
    step: int
    images: Tensor


class TrainingAnimation(FigureCallback):
    """``training.gif`` and ``training.png``: samples of fixed noise after every validation of a training.

    For modules that sample images (see ``callbacks.samples.draw``). A long training keeps every second, then every
    fourth validation and so on. A resumed training begins an animation of its own.

    Args:
        side: Number of samples in a row and in a column of the animation; the strip shows the first of them.
        frames: Number of frames at most.
        every_n_epochs: Epochs between files while training; 0 writes them only at the end.

    Raises:
        ValueError: an argument out of its range.
    """

    figures: ClassVar = {
        "training": FigureText("Samples through the training", "When rows stop changing, more epochs add little.", 58),
    }

    def __init__(self, side: int = 6, frames: int = 60, every_n_epochs: int = 50) -> None:
        super().__init__(every_n_epochs)
        at_least(1, side=side)
        at_least(2, frames=frames)
        self.side, self.most = side, frames
        self.frames: list[Frame] = []
        self._every, self._validations = 1, 0
        self._able: bool | None = None

    def collect(self, module: pl.LightningModule, batch: Mapping[str, Any], batch_idx: int, outputs: Any) -> None:
        """Keep nothing: the module is asked when the validation is over."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        if self._able is None:
            self._able = samples_images(pl_module)
        if self._able:
            self._take(trainer, pl_module)
            super().on_validation_end(trainer, pl_module)

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Nothing: a test is not part of the training."""

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write what there is so far."""
        save_animation(self.frames, self.side, self.folder / "training.gif")
        self.save(trainer, strip(self.frames, 2 * self.side), "training")

    def _take(self, trainer: pl.Trainer, module: Any) -> None:
        """A frame, in the place of the last one if that was not due."""
        if len(self.frames) > 1 and (self._validations - 1) % self._every:
            self.frames.pop()  # only the end of the animation may be out of step
        if len(self.frames) == self.most:
            self.frames, self._every = self.frames[::2], 2 * self._every
        images = first_samples(trainer, module, self.side**2)
        self.frames.append(Frame(trainer.current_epoch + 1, trainer.global_step, images))
        self._validations += 1


def save_animation(frames: list[Frame], side: int, path: Any) -> None:
    """Write an animated GIF, atomically, of ``side`` x ``side`` samples a frame, with a line that says when."""
    images = [_image(frame, side) for frame in frames]
    palette = images[-1].quantize(256)  # one for all: else colours flicker
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    durations = [max(40, int(1000 * _SECONDS / len(images)))] * (len(images) - 1) + [1500]
    options = {"save_all": True, "append_images": images[1:], "duration": durations, "loop": 0}
    atomic_write(path, lambda tmp_path: images[0].save(tmp_path, "GIF", **options))


def _image(frame: Frame, side: int) -> Image.Image:
    grid = make_grid(frame.images, nrow=side, padding=1, pad_value=255).permute(1, 2, 0)
    larger = -(-_WIDTH // grid.shape[1])
    pixels = np.kron(grid.numpy(), np.ones((larger, larger, 1), np.uint8))
    image = Image.new("RGB", (pixels.shape[1], pixels.shape[0] + 20), "white")
    image.paste(Image.fromarray(pixels), (0, 20))
    ImageDraw.Draw(image).text((larger, 4), f"epoch {frame.epoch}, step {frame.step:,}", fill="black")
    return image


def strip(frames: list[Frame], columns: int) -> Figure:
    """A row of samples for each of up to 8 moments, evenly spread: in a column one noise through the training."""
    chosen = [frames[i] for i in torch.linspace(0, len(frames) - 1, min(_STRIP, len(frames))).round().int().tolist()]
    columns = min(columns, len(frames[0].images))
    grid = make_grid(torch.cat([frame.images[:columns] for frame in chosen]), columns, padding=1, pad_value=255)
    height = grid.shape[1] / len(chosen)
    figure = Figure(figsize=(9, 8.2 * grid.shape[1] / grid.shape[2] + 0.4), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(grid.permute(1, 2, 0).numpy(), interpolation="nearest")
    axes.set_yticks([height * (i + 0.5) for i in range(len(chosen))], [f"epoch {frame.epoch}" for frame in chosen])
    axes.tick_params(length=0, labelsize=8)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.set_title("samples of the same noise through the training", fontsize=10)
    return figure
