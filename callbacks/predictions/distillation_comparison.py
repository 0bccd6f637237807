"""A student beside its teacher, and beside itself as it learns from labels alone."""

import copy
import statistics
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torchmetrics import Metric

from zoo.core.batch import LABEL, as_mapping
from zoo.core.nested_fit import fit_nested


class ComparisonRow(NamedTuple):
    """A network beside others: its score, parameters, bytes on a disk, and milliseconds for one sample on the CPU."""

    name: str
    score: float
    parameters: int
    size: int
    latency: float


class DistillationComparison(pl.Callback):
    """For modules that learn from a teacher: ``teacher_score`` and ``baseline_score`` when testing, and a table.

    The baseline is the student's network from the same start, trained for as many steps on the same batches, on their
    labels alone; with ``train_baseline`` false in the module's options, where training is resumed or where there are no
    labels there is none. Other modules are left alone: what is needed is ``teacher``, ``teacher_predict(x)``,
    ``baseline()``, ``task`` and ``to_head_labels(labels)``.
    """

    def __init__(self) -> None:
        self.rows: list[ComparisonRow] = []  # of the last test
        self._start: dict[str, Tensor] | None = None
        self._labelled = False
        self._baseline: Any = None
        self._scores: dict[str, Metric] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._start, self._labelled, self._baseline = None, False, None
        if _is_student(pl_module) and pl_module.hparams.train_baseline and not trainer.global_step:
            self._start = copy.deepcopy(pl_module.encoder.state_dict())

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self._start is not None:
            self._labelled = self._labelled or LABEL in as_mapping(batch, pl_module.input_key)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        start, self._start = self._start, None
        if start is None or not self._labelled or (baseline := pl_module.baseline()) is None:
            return
        baseline.encoder.load_state_dict(start)
        fit_nested(trainer, baseline, None, trainer.global_step)
        baseline.interpolate_with_start()
        self._baseline = baseline

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._scores = {}
        if not _is_student(pl_module) or not pl_module.teacher_is_read or pl_module.teacher.untrained:
            return
        names = ("teacher", "baseline") if self._baseline is not None else ("teacher",)
        self._scores = {name: pl_module.task.metrics()["score"].to(pl_module.device) for name in names}

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._scores and LABEL in (batch := as_mapping(batch, pl_module.input_key)):
            self._update(pl_module, batch)

    def _update(self, module: Any, batch: Mapping[str, Any]) -> None:
        labels = module.to_head_labels(batch[LABEL])
        labelled = module.task.labelled(labels)
        if not labelled.any():
            return
        x, labels = batch[module.input_key][labelled], labels[labelled]
        labels = labels if module.task.scaled else labels.long()
        self._scores["teacher"].update(module.teacher_predict(x), labels)
        if "baseline" in self._scores:
            self._scores["baseline"].update(self._baseline.classify(x), labels)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        scores = {name: score.compute() for name, score in self._scores.items() if score.update_called}
        pl_module.log_dict({f"test/{name}_score": score for name, score in scores.items()})

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        own = trainer.callback_metrics.get("test/score")
        if not self._scores or own is None or not trainer.is_global_zero:
            return
        self.rows = self._compare(pl_module, float(own))
        _print_table(self.rows)

    def _compare(self, module: Any, score: float) -> list[ComparisonRow]:
        student, shape = nn.Sequential(module.encoder, module.head), module.hparams.input_shape
        titles = {"teacher": "teacher", "baseline": "student, labels alone"}
        networks = {"teacher": module.teacher, "baseline": student}
        rows = [
            profile_network(titles[name], float(metric.compute()), networks[name], shape)
            for name, metric in self._scores.items()
            if metric.update_called
        ]
        return [*rows, profile_network("student, distilled", score, student, shape)]


def _is_student(module: Any) -> bool:
    return callable(getattr(module, "baseline", None)) and callable(getattr(module, "teacher_predict", None))


@torch.no_grad()
def profile_network(name: str, score: float, network: nn.Module, input_shape: Any, rounds: int = 30) -> ComparisonRow:
    """A network's row; the latency is the median of some rounds.

    Args:
        name, score: As they are shown.
        network: The network, of which a copy is measured.
        input_shape: Shape of one sample.
        rounds: Number of rounds after three that warm up.
    """
    own = copy.deepcopy(network).cpu().float().eval()
    x, seconds = torch.zeros(1, *input_shape), []
    for _ in range(rounds + 3):
        begin = time.perf_counter()
        own(x)
        seconds.append(time.perf_counter() - begin)
    size = sum(value.nbytes for value in own.state_dict().values())
    parameters = sum(p.numel() for p in own.parameters())
    return ComparisonRow(name, score, parameters, size, 1000 * statistics.median(seconds[3:]))


def _print_table(rows: list[ComparisonRow]) -> None:
    table = Table("", "score", "parameters", "size", "latency (CPU)", title="teacher and student")
    for name, score, parameters, size, latency in rows:
        table.add_row(name, f"{score:.4f}", f"{parameters:,}", f"{size / 1000:,.0f} kB", f"{latency:.2f} ms")
    Console(soft_wrap=True).print(table)
