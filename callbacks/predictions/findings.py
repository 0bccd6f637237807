"""A supervised module's score as a finding, beside what needs no input at all."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import multilabel_average_precision

from zoo.core.findings import NUMBER, PERCENT, Finding, Reference
from zoo.functional.intervals import wilson

ACCURACY = "accuracy"


def prediction_findings(predictions: Tensor, labels: Tensor, task: str) -> list[Finding]:
    """The score by task; none for a task of one's own whose labels are no classes.

    Args:
        predictions: Probabilities or values, (M, C) float.
        labels: Labels of the M samples, under the head's numbers.
        task: Name of the task.
    """
    if task == "regression":
        return [_r2(predictions, labels)]
    if task == "multilabel":
        return [_average_precision(predictions, labels)]
    return [accuracy_finding(predictions.argmax(1), labels)] if of_classes(labels) else []


def accuracy_finding(predicted: Tensor, labels: Tensor, title: str = "accuracy") -> Finding:
    """Share of right answers, beside that of the class which is most frequent among ``labels``.

    Args:
        predicted: Predicted classes, (M,) long.
        labels: True classes, (M,) long.
        title: Title of the finding.
    """
    n, right = len(labels), int((predicted == labels).sum())
    frequent = Reference("most frequent class", (labels == labels.mode().values).double().mean().item())
    meaning = "right answers on test samples; more is better"
    return Finding(ACCURACY, title, right / n, meaning, PERCENT, n, wilson(right, n), (frequent,), metric="score")


def _r2(predictions: Tensor, labels: Tensor) -> Finding:
    truth = labels.view(len(labels), -1).double()
    error = (predictions.double().view_as(truth) - truth).square().sum(0)
    total = (truth - truth.mean(0)).square().sum(0)
    score = (1 - error / total).mean().item() if len(truth) > 1 else float("nan")
    mean = Reference("the mean of the labels", 0.0)
    meaning = "share of the labels' variance that is predicted (R squared); 1 is best"
    return Finding(ACCURACY, "R squared", score, meaning, NUMBER, len(truth), None, (mean,), metric="score")


def _average_precision(predictions: Tensor, labels: Tensor) -> Finding:
    score = multilabel_average_precision(predictions.float(), labels.long(), labels.shape[1]).item()
    frequency = Reference("guessing", labels.float().mean(0)[labels.sum(0) > 0].mean().nan_to_num(0.0).item())
    meaning = "precision averaged over recall and classes (mAP); 1 is best"
    return Finding(ACCURACY, "mean average precision", score, meaning, NUMBER, len(labels), None, (frequency,),
                   metric="score")  # fmt: skip


def of_classes(labels: Tensor) -> bool:
    """Whether labels are one class a sample."""
    return labels.ndim == 1 and not torch.is_floating_point(labels)
