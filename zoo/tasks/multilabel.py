"""Multi-label classification: any number of classes per sample."""

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MultilabelAveragePrecision, MultilabelF1Score

from zoo.functional.distill import binary_kd_loss
from zoo.functional.finetune import balanced_class_weights, multilabel_loss
from zoo.functional.probe import fit_logistic
from zoo.tasks.base import Task


class Multilabel(Task):
    """Labels (B, C) of 0 and 1, a row of NaN for unlabelled samples; outputs are logits (B, C), predictions
    probabilities, each independent of the others."""

    mixes = True
    score_name = "mean average precision"

    def loss(
        self, output: Tensor, labels: Tensor, class_weight: Tensor | None = None, smoothing: float = 0.0
    ) -> Tensor:
        """Binary cross-entropy, the mean over classes and labelled samples."""
        return multilabel_loss(output, labels, class_weight, smoothing)

    def predict(self, output: Tensor) -> Tensor:
        """Probabilities (B, C)."""
        return output.sigmoid()

    def metrics(self) -> MetricCollection:
        """Metrics with mean average precision as the score."""
        found = {"score": MultilabelAveragePrecision(self.outputs), "f1": MultilabelF1Score(self.outputs)}
        return MetricCollection(found, compute_groups=False)  # type: ignore[arg-type]

    def weighted_score(self, prediction: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Average precision of each class, averaged over the classes that occur, (R,)."""
        return torch.stack(
            [_average_precision(p, y, weights) for p, y in zip(prediction.T, labels.T, strict=True)]
        ).nanmean(0)

    def probe(
        self, features: Tensor, labels: Tensor, l2: float, class_weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Weight and bias of one logistic regression per class."""
        return fit_logistic(features, labels, self.outputs, l2, class_weight=class_weight)

    def to_head_labels(self, labels: Tensor, indices: Tensor | None) -> Tensor:
        """Columns in the head's order; classes that the data lack are 0."""
        if indices is None:
            return labels
        return labels.new_zeros(len(labels), self.outputs).index_copy_(1, indices, labels)

    def decide(self, prediction: Tensor) -> Tensor:
        """Classes that are more probable than not, (B, C) of 0 and 1."""
        return (prediction > 0.5).float()

    def class_weights(self, labels: Tensor) -> Tensor:
        """Weights (C,) of positive samples that balance them with the class's negative ones."""
        return balanced_class_weights(labels, self.outputs)

    def kd_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """KL divergence of each class's probability from the teacher's."""
        return binary_kd_loss(student, teacher, temperature)


def _average_precision(prediction: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted average precision (R,) of one class, from (N,), (N,) and (R, N); NaN where it has no positive sample."""
    order = prediction.argsort(descending=True, stable=True)
    ranked, positive = weights[:, order], labels[order].to(weights.dtype)
    # Samples of equal prediction are of one threshold: all count as soon as the first does.
    last = torch.searchsorted(-prediction[order].contiguous(), -prediction[order].contiguous(), right=True) - 1
    hits, seen = (ranked * positive).cumsum(1)[:, last], ranked.cumsum(1)[:, last]
    return (ranked * positive * hits / seen.clamp_min(1e-12)).sum(1) / (ranked @ positive)
