"""A progress bar that costs a training step next to nothing, and says how long it will take."""

import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from callbacks.run.time_left import TimeLeft


class Progress(ProgressBar):
    """One line with epoch or step, time left, metrics and speed, refreshed by the clock and not by the step.

    Lightning's bars work at every step, or at every n-th: too often for short steps, too seldom for long ones. Here a
    step costs a look at the clock. Without a terminal, a line is printed every ``line_interval`` seconds instead.

    Args:
        interval: Seconds between refreshes.
        line_interval: Seconds between lines where the output is not a terminal.
    """

    def __init__(self, interval: float = 0.2, line_interval: float = 10.0) -> None:
        super().__init__()
        self.interval, self.line_interval = interval, line_interval
        self._next = 0.0
        self._enabled = True
        self._training = False
        self._bar: RichProgress | None = None
        self._mark = (0.0, 0)  # time and batches of the last refresh, for the speed
        self._time_left = TimeLeft()

    def disable(self) -> None:
        """Show nothing from now on."""
        self._enabled = False

    def enable(self) -> None:
        """Show again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._time_left.count_batch()
        if time.perf_counter() >= self._next:
            self._show(trainer, batch_idx + 1, trainer.num_training_batches)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._bar and trainer.num_training_batches != float("inf"):
            self._show(trainer, int(trainer.num_training_batches), trainer.num_training_batches)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._training and time.perf_counter() >= self._next:
            self._show(trainer, batch_idx + 1, sum(trainer.num_val_batches), "validating ")

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        (self._bar.console.print if self._bar else print)(*args, **kwargs)

    def _start(self, trainer: pl.Trainer) -> None:
        self._mark, self._training = (time.perf_counter(), 0), True
        self._time_left.start(trainer)
        if not self._enabled:
            self._next = float("inf")
        elif sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[batches]}"))
            metrics = TextColumn("{task.fields[metrics]}")
            console = Console(stderr=True)
            self._bar = RichProgress(*columns, TimeElapsedColumn(), metrics, console=console, auto_refresh=False)
            self._bar.add_task("", total=None, batches="", metrics="")
            self._bar.start()
        else:
            self._next = time.perf_counter() + self.line_interval

    def _stop(self) -> None:
        self._training = False
        if self._bar:
            self._bar.refresh()
            self._bar.stop()
            self._bar = None

    def _show(self, trainer: pl.Trainer, done: int, total: float, what: str = "") -> None:
        now, batches = time.perf_counter(), self._time_left.batches
        speed = (batches - self._mark[1]) / max(1e-9, now - self._mark[0])
        self._mark = (now, batches)
        self._next = now + (self.interval if self._bar else self.line_interval)
        metrics = [f"{name} {float(value):.4g}" for name, value in self._metrics(trainer).items()]
        rest = [
            self._time_left.text(trainer),
            *metrics,
            f"{speed:.{0 if speed >= 10 else 1}f} batches/s" if speed else "",
        ]
        text = "  ".join(filter(None, rest))
        where = self._time_left.where(trainer)
        within = "" if where.startswith("step") and not what else f"{what}{done}/{total}"
        if self._bar:
            share = self._time_left.share(trainer)
            task = self._bar.task_ids[0]
            self._bar.update(task, description=where, batches=within, metrics=text, completed=share or 0)
            self._bar.tasks[0].total = None if share is None else 1.0  # update() leaves a total as it is for None
            self._bar.refresh()
        else:
            print(*filter(None, (where, within, text)), sep="  ", file=sys.stderr, flush=True)

    @staticmethod
    def _metrics(trainer: pl.Trainer) -> dict[str, Any]:
        """The two losses if there are any, else whatever is meant for a bar."""
        losses = {k: v for k, v in trainer.callback_metrics.items() if k in ("train/loss", "val/loss")}
        return losses or trainer.progress_bar_metrics
