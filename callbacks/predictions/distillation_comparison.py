"""A student beside its teacher, and beside itself as it learns from labels alone."""

import copy
import statistics
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import nn

from callbacks.predictions.baseline_comparison import BaselineComparison
from zoo.core.findings import COUNT, Finding, Reference


class ComparisonRow(NamedTuple):
    """A network beside others: its score, parameters, bytes on a disk, and milliseconds for one sample on the CPU."""

    name: str
    score: float
    parameters: int
    size: int
    latency: float


class DistillationComparison(BaselineComparison):
    """For modules that learn from a teacher: ``teacher_score`` and ``baseline_score`` when testing, and findings.

    The baseline is the student's network from the same start, trained on labels alone (see ``BaselineComparison``).
    What is needed beside is ``teacher``, ``teacher_is_read`` and ``teacher_predict(x)``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[ComparisonRow] = []  # of the last test

    def others(self, module: Any) -> dict[str, Any]:
        """The teacher, and the baseline."""
        if not callable(getattr(module, "teacher_predict", None)):
            return super().others(module)
        taught = module.teacher_is_read and not module.teacher.untrained
        return {**({"teacher": module.teacher_predict} if taught else {}), **super().others(module)}

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        super().on_test_epoch_end(trainer, pl_module)
        self.rows = []
        if self._found and trainer.is_global_zero:
            self.rows = self._profiles(pl_module, self._found[0])
            self._found += size_findings({row.name: row for row in self.rows})

    def _profiles(self, module: Any, finding: Finding) -> list[ComparisonRow]:
        student, shape = nn.Sequential(module.encoder, module.head), module.hparams.input_shape
        others = ("teacher", module.contestants[1])
        scores = {r.title: r.value for r in finding.references if r.title in others} | {finding.title: finding.value}
        networks = {name: module.teacher if name == "teacher" else student for name in scores}
        return [profile_network(name, score, networks[name], shape) for name, score in scores.items()]


def size_findings(rows: Mapping[str, ComparisonRow]) -> list[Finding]:
    """Parameters, size and latency of the student beside the teacher's."""
    student, teacher = list(rows.values())[-1], rows.get("teacher")

    def beside(title: str, name: str, meaning: str, scale: float = 1.0, **options: Any) -> Finding:
        references = (Reference("teacher", getattr(teacher, name) * scale),) if teacher else ()
        value = getattr(student, name) * scale
        return Finding("student", title, value, meaning, references=references, higher_is_better=False, **options)

    return [
        beside("parameters", "parameters", "trained numbers of the student; fewer is smaller", unit=COUNT),
        beside("size", "size", "bytes of the weights on a disk; less is smaller", 1e-3, unit=COUNT, note="kB"),
        beside("latency", "latency", "median time of one sample on this CPU; less is faster", note="ms"),
    ]


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
