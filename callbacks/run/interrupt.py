"""Ctrl-C, SIGTERM and SIGHUP without loss."""

import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from zoo.core import stop
from zoo.core.run_dir import run_dir


class Interrupt(pl.Callback):
    """On Ctrl-C, SIGTERM or SIGHUP, finish the step, write ``interrupted.ckpt`` beside the other checkpoints, say how
    to go on, and stop.

    A second one stops at once.

    Args:
        hint: Message for the user; ``{path}`` stands for the checkpoint, ``{folder}`` for the run's folder.
    """

    def __init__(self, hint: str = "to go on, fit with ckpt_path={path}") -> None:
        self.hint = hint
        self._asked = self._agreed = self._many = False
        self._previous: dict[int, Any] = {}
        self._folder = self._checkpoints = Path()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._folder = run_dir(trainer)
        self._checkpoints = self._folder / "checkpoints"

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Not earlier: Lightning notes the handlers that it finds when fit begins, and puts them back at the end.
        self._many = trainer.world_size > 1
        folders = [getattr(each, "dirpath", None) for each in trainer.checkpoint_callbacks]
        self._checkpoints = Path(next((folder for folder in folders[::-1] if folder), self._checkpoints))
        self._previous = stop.handle(self._ask)

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning's handler of SIGTERM talks to the other processes, from wherever it happens to be called.
        if self._own_handlers():
            self._previous = {**stop.handle(stop.stop_now), **self._previous}

    on_test_start = on_predict_start = on_validation_start = on_sanity_check_start

    def _own_handlers(self) -> bool:
        """Whether the program listens to signals, and this callback does not."""
        return not self._previous and signal.getsignal(signal.SIGINT) is stop.stop_now

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._restore()
        last = self._checkpoints / "last.ckpt"
        if self._asked and not self._agreed and trainer.is_global_zero and last.is_file():
            self._say(last)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not self._asked and not self._many:
            return
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        every_n = max(1, trainer.log_every_n_steps)  # type: ignore[attr-defined]
        if last or not self._many or (batch_idx + 1) % every_n == 0:
            self._agree(trainer)
        if self._agreed and (last or (batch_idx + 1) % trainer.accumulate_grad_batches == 0):
            self._save_and_stop(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._agree(trainer)  # it may have come since the last batch, while the last validation drew its figures
        if self._agreed:
            self._save_and_stop(trainer)

    def _agree(self, trainer: pl.Trainer) -> None:
        """All ranks must stop at the same batch; asking them at every step would cost more than it is worth."""
        self._agreed = trainer.strategy.reduce_boolean_decision(self._asked, all=False) if self._many else self._asked

    def _ask(self, number: int, frame: Any) -> None:
        stop.note(number)
        if self._asked:
            self._restore()
            raise KeyboardInterrupt
        self._asked = True
        stop.say("stopping after this step; once more to stop at once")

    def _restore(self) -> None:
        stop.restore(self._previous)
        self._previous = {}

    def _save_and_stop(self, trainer: pl.Trainer) -> None:
        path = self._checkpoints / "interrupted.ckpt"
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            self._say(path)
        raise KeyboardInterrupt

    def _say(self, path: Path) -> None:
        hint = self.hint.replace("{folder}", shlex.quote(str(self._folder)))
        print(hint.replace("{path}", shlex.quote(str(path))), file=sys.stderr, flush=True)
