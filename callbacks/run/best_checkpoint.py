"""The checkpoint with the best value of a metric."""

import logging
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint

log = logging.getLogger(__name__)


class BestCheckpoint(ModelCheckpoint):
    """``best.ckpt`` by a metric of the module's or of a callback's, such as ``val/fid`` or ``val/probe``.

    A callback may log its metric at every fifth validation, say; Lightning's own ModelCheckpoint stops the run at the
    first without it. Here only validations that have it are compared. Arguments are ModelCheckpoint's.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._compared = False

    @property
    def state_key(self) -> str:
        """ModelCheckpoint's: checkpoints of version 0.1.0 have it, and their best is remembered."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._has_metric(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._has_metric(trainer):
            super().on_validation_end(trainer, pl_module)

    def _has_metric(self, trainer: pl.Trainer) -> bool:
        there = self.monitor is None or self.monitor in trainer.callback_metrics
        self._compared = self._compared or (there and not trainer.sanity_checking)
        return there

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        validated = sum(trainer.num_val_batches) > 0
        if self.monitor is not None and validated and not self._compared and trainer.is_global_zero:
            logged = ", ".join(sorted(name for name in trainer.callback_metrics if "/" in name))
            text = "no validation had the metric %r, so no best checkpoint is kept; there are: %s"
            log.warning(text, self.monitor, logged)
