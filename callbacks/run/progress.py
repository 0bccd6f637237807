"""A progress bar that costs a training step next to nothing."""

import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress


class Progress(ProgressBar):
    """One line with epoch, batch, speed and the metrics, refreshed by the clock and not by the step.

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
        self._bar: RichProgress | None = None
        self._mark = (0.0, 0)  # time and batches of the last refresh, for the speed
        self._batches = 0

    def disable(self) -> None:
        """Show nothing from now on."""
        self._enabled = False

    def enable(self) -> None:
        """Show again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._batches += 1
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
        if self._bar and time.perf_counter() >= self._next:
            self._show(trainer, batch_idx + 1, sum(trainer.num_val_batches), "validating")

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        (self._bar.console.print if self._bar else print)(*args, **kwargs)

    def _start(self) -> None:
        self._mark, self._batches = (time.perf_counter(), 0), 0
        if not self._enabled:
            self._next = float("inf")
        elif sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
            metrics = TextColumn("{task.fields[metrics]}")
            self._bar = RichProgress(*columns, metrics, console=Console(stderr=True), auto_refresh=False)
            self._bar.add_task("", total=None, metrics="")
            self._bar.start()
        else:
            self._next = time.perf_counter() + self.line_interval

    def _stop(self) -> None:
        if self._bar:
            self._bar.refresh()
            self._bar.stop()
            self._bar = None

    def _show(self, trainer: pl.Trainer, done: int, total: float, what: str = "") -> None:
        now = time.perf_counter()
        speed = (self._batches - self._mark[1]) / max(1e-9, now - self._mark[0])
        self._mark = (now, self._batches)
        self._next = now + (self.interval if self._bar else self.line_interval)
        last = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
        epoch = f"epoch {trainer.current_epoch + 1}{last} {what}".rstrip()
        metrics = "  ".join(f"{name} {float(value):.4g}" for name, value in self._metrics(trainer).items())
        text = f"{metrics}  {speed:.0f} batches/s" if speed else metrics
        if self._bar:
            known = None if total == float("inf") else int(total)
            self._bar.update(self._bar.task_ids[0], description=epoch, completed=done, total=known, metrics=text)
            self._bar.refresh()
        else:
            print(f"{epoch}  {done}/{total}  {text}", file=sys.stderr, flush=True)

    @staticmethod
    def _metrics(trainer: pl.Trainer) -> dict[str, Any]:
        """The two losses if there are any, else whatever is meant for a bar."""
        losses = {k: v for k, v in trainer.callback_metrics.items() if k in ("train/loss", "val/loss")}
        return losses or trainer.progress_bar_metrics
