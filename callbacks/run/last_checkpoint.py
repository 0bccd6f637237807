"""The checkpoint to resume from."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint

from zoo.core.run_dir import run_dir


class LastCheckpoint(ModelCheckpoint):
    """``last.ckpt`` after every validation, better or not, after every epoch without one, and when training ends.

    Lightning's own ``save_last`` writes it only together with a new best one: a run that stood still for ten epochs
    would be resumed ten epochs back. And its checkpoints wait for a validation, which may never come.

    Args:
        dirpath: Path of the folder; None is ``checkpoints`` in the run's own.
    """

    def __init__(self, dirpath: str | None = None) -> None:
        super().__init__(dirpath, "last", enable_version_counter=False, auto_insert_metric_name=False)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.dirpath = self.dirpath or str(run_dir(trainer) / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save_now(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save_now(trainer)

    def _save_now(self, trainer: pl.Trainer) -> None:
        """Save unless these steps are saved already."""
        if not self._should_skip_saving_checkpoint(trainer):
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing: a resumed run has a last checkpoint of its own."""
