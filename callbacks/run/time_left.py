"""How far a training is, and how long the rest will take."""

import math
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping, Timer

from zoo.core.duration import duration


class TimeLeft:
    """Estimates from the batches so far what the remaining ones take, validations and all else between them included.

    It knows numbers that the host has anyway: nothing waits for a device. Time is counted from the end of the first
    batch, which often compiles or reads.
    """

    def __init__(self) -> None:
        self.batches = 0  # of this run, since it began or was resumed
        self._began = 0.0
        self._first = (0, 0, 0)  # epoch, batch within it and step at which this run began

    def start(self, trainer: pl.Trainer) -> None:
        """Begin to count, when training starts."""
        self.batches = 0
        self._first = (trainer.current_epoch, _batches_of_epoch(trainer), trainer.global_step)

    def count_batch(self) -> None:
        """Count a training batch that is done."""
        self.batches += 1
        if self.batches == 1:
            self._began = time.perf_counter()

    def where(self, trainer: pl.Trainer) -> str:
        """Such as "epoch 6/60", or "step 300/1000" where steps end the training sooner; without an end "epoch 6"."""
        if self._left_by_steps(trainer) < self._left_by_epochs(trainer):
            return f"step {trainer.global_step}/{trainer.max_steps}"
        last = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
        return f"epoch {trainer.current_epoch + 1}{last}"

    def share(self, trainer: pl.Trainer) -> float | None:
        """Share of this run's batches that are done, 0 to 1; None where their number is unknown."""
        left = self._left(trainer)
        return None if math.isinf(left) else self.batches / max(1.0, self.batches + left)

    def text(self, trainer: pl.Trainer) -> str:
        """Such as "2 min left"; "at most ..." where training may stop early; "" as long as nothing is known."""
        left = self._left(trainer)
        seconds = (time.perf_counter() - self._began) / (self.batches - 1) * left if self.batches > 1 else math.inf
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        limits = [timer.time_remaining() for timer in callbacks if isinstance(timer, Timer)]
        seconds = min([seconds, *(limit for limit in limits if limit is not None)])
        if math.isinf(seconds):
            return ""
        early = any(isinstance(callback, EarlyStopping) and getattr(callback, "active", True) for callback in callbacks)
        return f"{'at most ' if early else ''}{duration(max(0.0, seconds))} left"

    def _left(self, trainer: pl.Trainer) -> float:
        """Training batches to come; infinite where unknown."""
        return max(0.0, min(self._left_by_steps(trainer), self._left_by_epochs(trainer)))

    def _left_by_steps(self, trainer: pl.Trainer) -> float:
        if trainer.max_steps == -1:
            return math.inf
        steps = trainer.global_step - self._first[2]
        batches_per_step = self.batches / steps if steps else trainer.accumulate_grad_batches
        return (trainer.max_steps - trainer.global_step) * batches_per_step

    def _left_by_epochs(self, trainer: pl.Trainer) -> float:
        if trainer.max_epochs in (None, -1):
            return math.inf
        size = float(trainer.num_training_batches)
        if math.isinf(size):  # a stream's length is known from its earlier epochs
            epochs = trainer.current_epoch - self._first[0]
            size = (self.batches - _batches_of_epoch(trainer) + self._first[1]) / epochs if epochs > 0 else math.inf
        return (trainer.max_epochs - trainer.current_epoch) * size - _batches_of_epoch(trainer)  # type: ignore[operator]


def _batches_of_epoch(trainer: pl.Trainer) -> int:
    """Batches that are done of the current epoch."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress
    return int(progress.current.processed)
