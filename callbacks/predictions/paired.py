"""Findings of networks that were asked about the same test samples."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from callbacks.predictions.findings import accuracy_finding
from zoo.core.findings import NUMBER, PERCENT, Finding, Interval, Reference
from zoo.functional.intervals import chance_difference, wilson
from zoo.functional.resampling import bootstrap, chance_of_differences, percentile_interval


def paired_finding(
    title: str, own: Tensor, others: Mapping[str, tuple[Tensor, bool]], labels: Tensor, task: Any, note: str = ""
) -> Finding:
    """A network's score beside those of others, and which differences are chance.

    Classes are compared by McNemar's test, other scores by a bootstrap of the differences.

    Args:
        title: Title of the network, "pretrained".
        own: Its predictions, (N, C).
        others: Predictions of the others, by title, and whether each is a baseline.
        labels: Labels of the N samples, under the head's numbers.
        task: Task of all, a ``zoo.tasks.base.Task``.
        note: What the samples are, "on digits_m".
    """
    of_classes = task.score_name == "accuracy"
    score, drawn, interval = _score(own, labels, task)
    references = []
    for name, (prediction, baseline) in others.items():
        value, again, spread = _score(prediction, labels, task)
        chance: float | None = None
        if of_classes:
            chance = _mcnemar(own, prediction, labels)
        elif len(drawn):
            chance = chance_of_differences(drawn - again, score - value)
        references.append(Reference(name, value, spread, chance, baseline))
    if of_classes:
        references += accuracy_finding(own.argmax(1), labels).references
    meaning = f"{task.score_name} on test samples; more is better"
    unit, notes = (PERCENT, [note]) if of_classes else (NUMBER, [task.score_name, note])
    options: Any = {"samples": len(labels), "interval": interval, "references": tuple(references), "metric": "score"}
    return Finding("accuracy", title, score, meaning, unit, **options, note=" ".join(filter(None, notes)))


def _score(prediction: Tensor, labels: Tensor, task: Any) -> tuple[float, Tensor, Interval | None]:
    """The score, what it would have been on other draws of samples, and its interval."""
    n = len(labels)
    if task.score_name == "accuracy":
        right = int((prediction.argmax(1) == labels).sum())
        return right / n, torch.empty(0), wilson(right, n)
    score = task.weighted_score(prediction, labels, torch.ones(1, n, dtype=torch.float64))
    if score is None:  # a task of one's own
        metric = task.metrics()["score"]
        metric.update(prediction, labels)
        return float(metric.compute()), torch.empty(0), None
    drawn = bootstrap(lambda weights: task.weighted_score(prediction, labels, weights), n)
    return float(score), drawn, percentile_interval(drawn) if drawn.isfinite().any() else None


def _mcnemar(first: Tensor, second: Tensor, labels: Tensor) -> float:
    one, two = (prediction.argmax(1) == labels for prediction in (first, second))
    return chance_difference(int((one & ~two).sum()), int((two & ~one).sum()), len(labels))
