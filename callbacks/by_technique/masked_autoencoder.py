"""The figure of a masked autoencoder: what it saw, what it made of it, and what there was."""

from collections.abc import Mapping
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor

from callbacks.figures import FigureCallback, FigureText, denormalised, image_rows, input_key_of
from zoo.core.arguments import at_least
from zoo.core.batch import INDEX

_HIDDEN = 0.6  # grey of what is hidden


class MaskedImages(FigureCallback):
    """``masked.png``: test or validation images as the encoder sees them, rebuilt by the decoder, and as they are.

    In the rebuilt ones visible patches are pasted in, and hidden ones have their own mean and deviation, which a
    decoder of normalised patches does not say: without these they look like noise. For modules with
    ``reconstruct(batch)`` and ``hidden_pixels(batch)``; idle with others.

    Args:
        columns: Number of images.
        every_n_epochs: Epochs between figures while training; 0 draws only at the end.

    Raises:
        ValueError: an argument out of its range.
    """

    figures: ClassVar = {
        "masked": FigureText(
            "Masked, rebuilt and original images",
            "The middle row should continue what the upper one shows. What cannot be guessed is blurred.",
            12,
        ),
    }

    def __init__(self, columns: int = 12, every_n_epochs: int = 25) -> None:
        super().__init__(every_n_epochs)
        at_least(1, columns=columns)
        self.columns = columns
        self._batch: dict[str, Tensor] = {}

    def collect(self, module: Any, batch: Mapping[str, Any], batch_idx: int, outputs: Any) -> None:
        """Keep the first images, and their numbers, by which patches are hidden."""
        x = batch.get(input_key_of(module))
        if batch_idx == 0 and hasattr(module, "hidden_pixels") and x is not None and x.shape[1] in (1, 3):
            index = batch.get(INDEX, torch.arange(len(x), device=x.device))
            self._batch = {input_key_of(module): x[: self.columns], INDEX: index[: self.columns]}

    @torch.no_grad()
    def draw(self, trainer: pl.Trainer, module: Any) -> None:
        """Draw the three rows."""
        if not self._batch:
            return
        batch, self._batch = self._batch, {}
        rebuilt = module.reconstruct(batch)
        if not self.finite(rebuilt, "rebuilt images"):
            return
        original, rebuilt = (denormalised(x, trainer).clamp(0, 1) for x in (batch[input_key_of(module)], rebuilt))
        masked = torch.where(module.hidden_pixels(batch).cpu(), _HIDDEN, original)
        stage = f"epoch {trainer.current_epoch + 1}" if trainer.state.fn == "fit" else "best checkpoint"
        title = f"hidden patches rebuilt, each with its own mean and deviation - {stage}"
        self.save(trainer, image_rows({"masked": masked, "rebuilt": rebuilt, "original": original}, title), "masked")
