"""torchmetrics' measures of a task, under the names they are logged by."""

from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric, MetricCollection, R2Score
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassF1Score,
    MultilabelAveragePrecision,
    MultilabelF1Score,
)

from zoo.functional.finetune import Task


def task_metrics(task: Task, outputs: int) -> MetricCollection:
    """``score``, and others beside it; updated with probabilities or values (B, C), and labels.

    Args:
        task: "classification", "multilabel" or "regression".
        outputs: C.
    """
    found: dict[str, Metric]
    if task == "regression":
        found = {"score": R2Score(), "mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False)}
    elif task == "multilabel":
        found = {"score": MultilabelAveragePrecision(outputs), "f1": MultilabelF1Score(outputs)}
    else:
        found = {
            "score": MulticlassAccuracy(max(2, outputs), average="micro"),
            "f1": MulticlassF1Score(max(2, outputs)),
            "calibration_error": MulticlassCalibrationError(max(2, outputs)),
        }
    return MetricCollection(found, compute_groups=False)  # type: ignore[arg-type]
