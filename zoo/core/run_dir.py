"""The folder of a run: where its figures, checkpoints, configuration and report are."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import CSVLogger


def run_dir(trainer: pl.Trainer) -> Path:
    """The folder of the first ``CSVLogger`` or else Lightning's ``log_dir``; a collective call.

    Without a logger it is ``default_root_dir``, as it is where loggers keep no files here.
    """
    return Path(trainer.strategy.broadcast(str(local_run_dir(trainer))))


def local_run_dir(trainer: pl.Trainer) -> Path:
    """The same without asking the other processes, whose first has the right answer."""
    folders: list[Any] = [logger.log_dir for logger in trainer.loggers if isinstance(logger, CSVLogger)]
    folders += [getattr(logger, "log_dir", None) or logger.save_dir for logger in trainer.loggers]
    return Path(next((folder for folder in folders if folder), trainer.default_root_dir))
