"""Ctrl-C without loss."""

import signal
import sys
import threading
from pathlib import Path
from typing import Any

import lightning.pytorch as pl


class Interrupt(pl.Callback):
    """On Ctrl-C, finish the batch, write ``checkpoints/interrupted.ckpt``, say how to go on, and stop.

    A second Ctrl-C stops at once.

    Args:
        hint: Message for the user; ``{path}`` stands for the checkpoint.
    """

    def __init__(self, hint: str = "to go on, fit with ckpt_path={path}") -> None:
        self.hint = hint
        self._asked = False
        self._many = False
        self._previous: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Not earlier: Lightning notes the handlers that it finds when fit begins, and puts them back at the end.
        self._many = trainer.world_size > 1
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._ask)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._restore()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not self._asked and not self._many:
            return
        if self._many:
            # All ranks must stop at the same batch; asking them at every step would cost more than it is worth.
            if (batch_idx + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
                self._asked = trainer.strategy.reduce_boolean_decision(self._asked, all=False)
            else:
                return
        whole_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if self._asked and whole_step:
            self._save_and_stop(trainer)

    def _ask(self, number: int, frame: Any) -> None:
        if self._asked:
            self._restore()
            raise KeyboardInterrupt
        self._asked = True
        print("\nstopping after this batch; once more to stop at once", file=sys.stderr, flush=True)

    def _restore(self) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def _save_and_stop(self, trainer: pl.Trainer) -> None:
        path = Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints" / "interrupted.ckpt"
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            print(self.hint.format(path=path), file=sys.stderr, flush=True)
        raise KeyboardInterrupt
