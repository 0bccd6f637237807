"""torchmetrics' measures of a task, under the names they are logged by."""

import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric, MetricCollection, R2Score
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassF1Score,
    MultilabelAveragePrecision,
    MultilabelF1Score,
)

from zoo.functional.finetune import Task


class _R2(R2Score):
    """Not a number for a single sample, of which torchmetrics' own refuses to say anything."""

    def compute(self) -> Tensor:
        return super().compute() if self.total > 1 else self.sum_error.new_full((), torch.nan)


def task_metrics(task: Task, outputs: int) -> MetricCollection:
    """``score``, and others tmp_path it; updated with probabilities or values (B, C), and labels.

    Args:
        task: "classification", "multilabel" or "regression".
        outputs: C.
    """
    found: dict[str, Metric]
    if task == "regression":
        found = {"score": _R2(), "mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False)}
    elif task == "multilabel":
        found = {"score": MultilabelAveragePrecision(outputs), "f1": MultilabelF1Score(outputs)}
    else:
        found = {
            "score": MulticlassAccuracy(max(2, outputs), average="micro"),
            "f1": MulticlassF1Score(max(2, outputs)),
            "calibration_error": MulticlassCalibrationError(max(2, outputs)),
        }
    return MetricCollection(found, compute_groups=False)  # type: ignore[arg-type]
