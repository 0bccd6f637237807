"""Numbers."""

import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection, R2Score

from zoo.functional.distill import hint_loss
from zoo.functional.finetune import regression_loss
from zoo.functional.probe import fit_ridge
from zoo.tasks.base import Task


class _R2(R2Score):
    """Not a number for a single sample, of which torchmetrics' own refuses to say anything."""

    def compute(self) -> Tensor:
        return super().compute() if self.total > 1 else self.sum_error.new_full((), torch.nan)


class Regression(Task):
    """Labels (B,) or (B, K), a row of NaN for unlabelled samples; outputs are in standard deviations from the mean of
    the training labels, predictions in the labels' units."""

    scaled = True

    def loss(
        self, output: Tensor, labels: Tensor, class_weight: Tensor | None = None, smoothing: float = 0.0
    ) -> Tensor:
        """Squared error."""
        return regression_loss(output, labels)

    def predict(self, output: Tensor) -> Tensor:
        """The values (B, K)."""
        return output

    def metrics(self) -> MetricCollection:
        """R^2 is the score."""
        found = {"score": _R2(), "mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False)}
        return MetricCollection(found, compute_groups=False)  # type: ignore[arg-type]

    def probe(
        self, features: Tensor, labels: Tensor, l2: float, class_weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Ridge regression."""
        return fit_ridge(features, labels, l2)

    def to_head_labels(self, labels: Tensor, indices: Tensor | None) -> Tensor:
        """Floats (B, K)."""
        return labels.view(len(labels), -1).float()

    def kd_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """The mean squared difference."""
        return hint_loss(student, teacher)
