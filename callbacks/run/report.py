"""A page to open in a browser, kept up to date while the run goes on."""

import json
import os
import platform
import shlex
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import CSVLogger

from callbacks.run.history import History
from callbacks.run.report_page import page, write_page
from callbacks.run.run_files import read_run
from zoo.core import stop
from zoo.core.arguments import at_least
from zoo.core.atomic import atomic_write
from zoo.core.counts import caveat_of, noun_of, sample_counts, title_of
from zoo.core.findings import collect, to_plain
from zoo.core.run_dir import local_run_dir, run_dir


class RunReport(pl.Callback):
    """``report.html`` in the run's folder: results, curves, figures, the command, versions, seed, data fingerprint.

    Metrics are those of ``metrics.csv``, which Lightning's ``CSVLogger`` writes; with other loggers they are kept
    beside the page, in ``history.csv``. What it says of the run other than that is in ``run.json``. Without any logger
    nothing is written.

    Args:
        interval: Seconds between pages at least; writing them takes a thirtieth of the time at most.
    """

    def __init__(self, interval: float = 10.0) -> None:
        at_least(0, interval=interval)
        self.interval = interval
        self._folder: Path | None = None
        self._facts: dict[str, Any] = {}
        self._next = 0.0
        self.started = time.perf_counter()
        self.counts: dict[str, int] = {}  # of samples: loaders are gone when training is over
        self.next_command = ""  # what to type next, where the command line knows it
        self._history: History | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        folder = run_dir(trainer)  # asked for on all ranks: it is broadcast
        if self._facts or not trainer.is_global_zero or trainer.fast_dev_run or not trainer.loggers:  # type: ignore[attr-defined]
            return
        if not any(isinstance(logger, CSVLogger) for logger in trainer.loggers):
            self._history = History()
            trainer.loggers = [*trainer.loggers, self._history]
        self._folder = folder
        self._facts = {"status": "running", **_facts(trainer, pl_module)}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.counts |= sample_counts(trainer)

    on_test_start = on_train_start

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit" or (not trainer.sanity_checking and time.perf_counter() >= self._next):
            self._write(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._facts.update(status="trained", epochs=trainer.current_epoch, steps=trainer.global_step)
        self._write(trainer)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._facts.update(status="finished")
        self._write(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        by_signal = isinstance(exception, KeyboardInterrupt) or stop.received()
        reason = "interrupted" if by_signal else f"stopped: {str(exception) or type(exception).__name__}"
        wanted = trainer.is_global_zero and not trainer.fast_dev_run and trainer.loggers  # type: ignore[attr-defined]
        if not self._facts and wanted:  # the data could not be prepared
            record_failure(local_run_dir(trainer), reason)
        self._facts.update(status=_line(reason))
        self._write(trainer)

    def _write(self, trainer: pl.Trainer) -> None:
        if self._folder is None:
            return
        begin = time.perf_counter()
        for logger in trainer.loggers:
            logger.save()
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            self._facts.update(getattr(callback, "facts", {}))  # what else there is to say of the run
        self._facts["time"] = f"{begin - self.started:.0f} s"
        self._facts |= _ending(trainer, self.next_command, begin - self.started)
        self._facts |= {"counts": self.counts, "figures": _figure_texts(trainer)}
        if self._history:
            self._history.write(self._folder)
        _write_json(self._folder / "run.json", self._facts)
        write_page(page(read_run(self._folder)), self._folder / "report.html")
        took = time.perf_counter() - begin
        self._next = begin + max(self.interval, 30 * took)


def record_failure(folder: str | Path, reason: str) -> None:
    """Leave ``run.json`` and the page of a run that failed before it began; what one that began has written stays.

    Args:
        folder: Folder of the run.
        reason: Status to show, "stopped: " and why, or "interrupted".
    """
    if not (Path(folder) / "run.json").exists():
        _write_json(Path(folder) / "run.json", {"status": _line(reason), **_surroundings()})
        write_page(page(read_run(folder)), Path(folder) / "report.html")


def _line(text: str) -> str:
    return " ".join(text.split())[:300]


def _ending(trainer: pl.Trainer, next_command: str, seconds: float) -> dict[str, Any]:
    """The run's answer as far as it is known, and what goes with it."""
    module, data = trainer.lightning_module, getattr(trainer, "datamodule", None)
    noun = noun_of(data)
    return {
        "title": title_of(module, data),
        "noun": noun,
        "answer": to_plain(collect(trainer, module, noun)),
        "caveat": caveat_of(data),
        "next": next_command,
        "seconds": round(seconds, 1),
    }


def _facts(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any]:
    data = getattr(trainer, "datamodule", None)
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "module": type(module).__name__,
        "parameters": f"{sum(p.numel() for p in module.parameters() if p.requires_grad):,}",
        "data": type(data).__name__ if data else "-",
        "data_fingerprint": str(getattr(data, "fingerprint", "-")),
        "device": f"{device.type} ({name}), {trainer.world_size} process(es), {torch.get_num_threads()} thread(s)",
        "precision": str(trainer.precision),
        **_surroundings(),
    }


def _surroundings() -> dict[str, Any]:
    """What is known of a run before it begins."""
    script = Path(sys.argv[0]).name
    return {
        "command": shlex.join([*(["python"] if script.endswith(".py") else []), script, *sys.argv[1:]]),
        "seed": os.environ.get("PL_GLOBAL_SEED", "-"),
        "versions": f"python {platform.python_version()}, torch {torch.__version__}, lightning {pl.__version__}",
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _figure_texts(trainer: pl.Trainer) -> dict[str, Any]:
    """What callbacks say of their figures; of those of other projects perhaps nothing."""
    drawing = [getattr(callback, "figures", None) for callback in trainer.callbacks]  # type: ignore[attr-defined]
    return {name: text for said in drawing if isinstance(said, dict) for name, text in said.items()}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    atomic_write(path, lambda tmp_path: Path(tmp_path).write_text(json.dumps(value, indent=2, default=str) + "\n"))
