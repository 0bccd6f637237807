"""Regression: one or several values per sample."""

import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection, R2Score

from zoo.functional.distill import hint_loss
from zoo.functional.finetune import regression_loss
from zoo.functional.probe import fit_ridge
from zoo.tasks.base import Task


class _R2(R2Score):
    """NaN for a single sample, for which torchmetrics' own raises an error."""

    def compute(self) -> Tensor:
        return super().compute() if self.total > 1 else self.sum_error.new_full((), torch.nan)


class Regression(Task):
    """Labels (B,) or (B, K), a row of NaN for unlabelled samples; outputs are standardised by the training labels' mean
    and standard deviation, predictions in the labels' units."""

    scaled = True
    score_name = "R squared"

    def loss(
        self, output: Tensor, labels: Tensor, class_weight: Tensor | None = None, smoothing: float = 0.0
    ) -> Tensor:
        """Squared error, the mean over values and labelled samples."""
        return regression_loss(output, labels)

    def predict(self, output: Tensor) -> Tensor:
        """The values (B, K)."""
        return output

    def metrics(self) -> MetricCollection:
        """Metrics with R^2 as the score."""
        found = {"score": _R2(), "mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False)}
        return MetricCollection(found, compute_groups=False)  # type: ignore[arg-type]

    def weighted_score(self, prediction: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """R^2 of each value, averaged over the values, (R,)."""
        truth = labels.view(len(labels), -1).to(weights.dtype)
        error = (prediction.view_as(truth).to(weights.dtype) - truth).square()
        truth = truth - truth.mean(0)  # differences of large squares cancel
        total, mean = weights.sum(1, keepdim=True), weights @ truth / weights.sum(1, keepdim=True)
        variance = weights @ truth.square() / total - mean.square()
        return (1 - (weights @ error / total) / variance).mean(1)

    def probe(
        self, features: Tensor, labels: Tensor, l2: float, class_weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Weight and bias of a ridge regression."""
        return fit_ridge(features, labels, l2)

    def to_head_labels(self, labels: Tensor, indices: Tensor | None) -> Tensor:
        """Labels as floats (B, K)."""
        return labels.view(len(labels), -1).float()

    def kd_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Mean squared difference of the outputs."""
        return hint_loss(student, teacher)
