"""How many steps fit into a budget, measured on this machine for some seconds."""

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from zoo.compare.cells import UNTRAINED, Cell, Folder
from zoo.compare.plan import Entry, Plan
from zoo.compare.pool import each_of
from zoo.compare.trainings import Work, build, trainer_for, tune
from zoo.core.archive import first_line
from zoo.core.imports import load

_MEASURED = 4.0  # seconds of training
_WARM_UP = 3  # steps, which compile and allocate


class _Clock(pl.Callback):
    """Ends a training after some seconds, and knows its speed."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.times.append(time.perf_counter())
        if len(self.times) > _WARM_UP + 1 and self.times[-1] - self.times[0] > _MEASURED:
            trainer.should_stop = True

    @property
    def seconds_per_step(self) -> float:
        """Mean seconds of a step after the first ones."""
        return (self.times[-1] - self.times[_WARM_UP]) / (len(self.times) - 1 - _WARM_UP)


def measured(
    work: Work, pool: Executor | None, networks: Sequence[str], techniques: Sequence[Entry]
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of a step of fine-tuning by network, and of pretraining by technique, beside as many others as there will
    be.

    Raises:
        ValueError: a technique cannot be trained; names it.
    """
    tasks: list[tuple[Plan, str, Entry | None]] = [(work.plan, network, None) for network in networks]
    tasks += [(work.plan, entry.name, entry) for entry in techniques]
    seconds = {tasks[i][1]: found for i, found in each_of(pool, work.data, measure, tasks)}
    tuning = {network: seconds[network] for network in networks}
    return tuning, {entry.name: seconds[entry.name] for entry in techniques}


def measure(data: Any, plan: Plan, name: str, entry: Entry | None) -> float:
    """Seconds of a step of a technique's pretraining, or of fine-tuning a network, the JSON of whose spec is given."""
    clock, limits = _Clock(), {"max_steps": 10**9, "max_epochs": -1}
    pl.seed_everything(0, verbose=False)
    if entry is None:
        work = Work(plan, Folder(Path()), data)
        tune(work, Cell(UNTRAINED, "full", 1e-3, plan.labels[-1], 0, name), callbacks=[clock], **limits)
        return clock.seconds_per_step
    try:
        unlabelled = data.without_labels()
        module = build(load(entry.path), entry.options, unlabelled)
        trainer_for(plan, callbacks=[clock], **limits).fit(module, unlabelled)
    except Exception as error:
        raise ValueError(f"{name} cannot be trained: {first_line(error)}") from error
    return clock.seconds_per_step
