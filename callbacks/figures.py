"""What the picture-making callbacks share: when to draw, and files that are whole or not there."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from matplotlib.figure import Figure
from torch import Tensor


class PictureCallback(pl.Callback):
    """Draws after validation every few epochs and at the last, and after testing; on the first process only.

    A subclass defines ``collect(module, batch, batch_idx)``, called with what is evaluated when a picture is due, and
    ``draw(trainer, module)``. Pictures are for looking at: a module that lacks what a picture needs gets none.

    Args:
        every_n_epochs: how often while training; 0 only at the end.
    """

    def __init__(self, every_n_epochs: int = 25) -> None:
        if every_n_epochs < 0:
            raise ValueError(f"every_n_epochs must be 0 or more; got {every_n_epochs}")
        self.every_n_epochs = every_n_epochs
        self.folder = Path()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.folder = Path(trainer.log_dir or trainer.default_root_dir)  # here, since asking for it needs all ranks

    def collect(self, module: pl.LightningModule, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Keep or compute what the picture needs from a batch."""
        raise NotImplementedError

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Make the picture, and forget what was collected."""
        raise NotImplementedError

    def due(self, trainer: pl.Trainer) -> bool:
        """Whether this evaluation ends with a picture."""
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
            self.collect(pl_module, named_tensors(batch), batch_idx)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.due(trainer):
            self.draw(trainer, pl_module)

    on_test_batch_end = on_validation_batch_end
    on_test_end = on_validation_end


def named_tensors(batch: Any) -> dict[str, Any]:
    """A batch as a mapping; of (input, label) and the like the first is the input."""
    if isinstance(batch, Mapping):
        return dict(batch)
    parts = batch if isinstance(batch, Sequence) else [batch]
    return dict(zip(("input", "label"), parts, strict=False))


def class_labels(batch: Mapping[str, Any]) -> Tensor:
    """A batch's ``label`` if it is of classes, (B,) long; -1 for samples without one, as of any other task."""
    x, labels = batch["input"], batch.get("label")
    if labels is None or labels.ndim != 1 or labels.is_floating_point():
        return torch.full((len(x),), -1, device=x.device)
    return labels.to(x.device)


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write ``name``.png into ``folder``; an older one of that name is replaced when the new one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{name}.{os.getpid()}.png"
    try:
        figure.savefig(beside, dpi=100)
        beside.replace(folder / f"{name}.png")
    finally:
        beside.unlink(missing_ok=True)


def to_unit(x: Tensor, trainer: pl.Trainer) -> Tensor:
    """Undo the data's normalisation: pictures (..., C, H, W) to values in [0, 1] on the CPU.

    Where each picture had its own, which is not known here, it fills the range from black to white.
    """
    x = x.detach().float().cpu()
    normalisation = getattr(getattr(trainer, "datamodule", None), "normalisation", None)
    if normalisation and "sample_offset" in normalisation:
        low, high = x.amin((-3, -2, -1), keepdim=True), x.amax((-3, -2, -1), keepdim=True)
        x = (x - low) / (high - low).clamp_min(1e-6)
    elif normalisation:
        mean, std = (torch.tensor(normalisation[key]).view(-1, 1, 1) for key in ("mean", "std"))
        x = x * std + mean
    return x.clamp(0, 1)
