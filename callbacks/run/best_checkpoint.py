"""The checkpoint with the best value of a metric."""

import logging
import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only

from zoo.core.atomic import atomic_write
from zoo.core.checkpoint import read_checkpoint
from zoo.core.run_dir import run_dir

log = logging.getLogger(__name__)


class BestCheckpoint(ModelCheckpoint):
    """``best.ckpt`` by a metric of the module's or of a callback's, such as ``val/fid`` or ``val/probe``.

    A callback may log its metric at every fifth validation, say; Lightning's own ModelCheckpoint stops the run at the
    first without it. Here only validations that have it are compared. A run that is resumed in another folder takes the
    earlier best there, and replaces it by a better one only; Lightning's own forgets it. Where nothing was validated,
    the best is the last. Arguments are ModelCheckpoint's.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._compared = False
        self._resumes = True
        self._resumed_from = Path()
        self._resumed_steps = 0

    @property
    def state_key(self) -> str:
        """ModelCheckpoint's: checkpoints of version 0.1.0 have it, and their best is remembered."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.dirpath = self.dirpath or str(run_dir(trainer) / "checkpoints")
        super().setup(trainer, pl_module, stage)

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
        if self.monitor is None or self._compared or self.best_model_path or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if any(name.startswith("val/") for name in trainer.callback_metrics):
            logged = ", ".join(sorted(name for name in trainer.callback_metrics if "/" in name))
            _tell("no validation had the metric %r, so no best checkpoint is kept; there are: %s", self.monitor, logged)
        elif trainer.global_step and self.save_top_k:
            few = getattr(getattr(trainer, "datamodule", None), "all_labels_train", False)  # which says so itself
            if not few:
                _tell("nothing was validated (`trainer.check_val_every_n_epoch`?): the best checkpoint is the last")
            self._save_none_monitor_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._resumes = trainer.state.fn == "fit"
        self._resumed_from = Path(str(trainer.ckpt_path or "")).parent
        self._resumed_steps = checkpoint["global_step"]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best of the run that is resumed, with its files if they are in another folder."""
        if not self._resumes:  # a test or prediction has no best
            return
        same = Path(str(self.dirpath)).resolve() == self._resumed_from.resolve()  # paths are relative
        if same and self.dirpath == state_dict.get("dirpath"):
            super().load_state_dict(state_dict)
            return
        for path, score in state_dict.get("best_k_models", {}).items():
            self._take(Path(path), score)
        order = min if self.mode == "min" else max
        if known := self.best_k_models:
            self.best_model_path = order(known, key=known.get)  # type: ignore[arg-type]
            self.best_model_score = known[self.best_model_path]
            self.kth_best_model_path = (max if order is min else min)(known, key=known.get)  # type: ignore[arg-type]
            self.kth_value = known[self.kth_best_model_path]
            text = "the best of the run that is resumed, %s %.5g, is kept in %s until there is a better one"
            _inform(text, self.monitor, float(self.best_model_score), self.best_model_path)

    def _take(self, path: Path, score: torch.Tensor) -> None:
        """Copy one of the earlier best checkpoints, if it still is what the resumed checkpoint knew of it."""
        places = [self._resumed_from / path.name, path]  # the first wherever the run's folder is by now
        source = next((place for place in places if place.is_file()), None)
        if source is None:
            _tell("the best checkpoint of the run that is resumed (%s) is gone: its %s, %.5g, counts no more",
                  path, self.monitor, float(score))  # fmt: skip
            return
        own = read_checkpoint(source)
        if own["global_step"] > self._resumed_steps:
            _tell("%s is of a later step than the checkpoint that is resumed: it counts no more", source)
            return
        target = Path(str(self.dirpath)) / path.name
        if getattr(rank_zero_only, "rank", 0) == 0:
            atomic_write(target, lambda tmp_path: shutil.copyfile(source, tmp_path))
        self.best_k_models[str(target)] = own.get("callbacks", {}).get(self.state_key, {}).get("current_score", score)


@rank_zero_only
def _tell(text: str, *values: Any) -> None:
    log.warning(text, *values)


@rank_zero_only
def _inform(text: str, *values: Any) -> None:
    print(text % values, flush=True)
