"""Classification: one class per sample."""

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MulticlassF1Score

from zoo.functional.distill import kd_loss
from zoo.functional.finetune import balanced_class_weights, classification_loss, is_labelled
from zoo.functional.probe import fit_logistic
from zoo.tasks.base import Task


class Classification(Task):
    """Labels (B,) long, -1 for unlabelled samples; outputs are logits (B, C), predictions probabilities."""

    mixes = True
    score_name = "accuracy"

    def loss(
        self, output: Tensor, labels: Tensor, class_weight: Tensor | None = None, smoothing: float = 0.0
    ) -> Tensor:
        """Cross-entropy, the mean over labelled samples."""
        return classification_loss(output, labels, class_weight, smoothing)

    def predict(self, output: Tensor) -> Tensor:
        """Probabilities (B, C) that sum to 1."""
        return output.softmax(1)

    def metrics(self) -> MetricCollection:
        """Accuracy as the score, F1 and calibration error."""
        classes = max(2, self.outputs)
        found = {
            "score": MulticlassAccuracy(classes, average="micro"),
            "f1": MulticlassF1Score(classes),
            "calibration_error": MulticlassCalibrationError(classes),
        }
        return MetricCollection(found, compute_groups=False)  # type: ignore[arg-type]

    def weighted_score(self, prediction: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Share of the weight that is on samples with the right class, (R,)."""
        return (weights @ (prediction.argmax(1) == labels).to(weights.dtype)) / weights.sum(1)

    def probe(
        self, features: Tensor, labels: Tensor, l2: float, class_weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Weight and bias of a multinomial logistic regression."""
        return fit_logistic(features, labels, self.outputs, l2, class_weight=class_weight)

    def to_head_labels(self, labels: Tensor, indices: Tensor | None) -> Tensor:
        """Class indices of the head, (B,) long; -1 stays."""
        return labels if indices is None else torch.where(labels >= 0, indices[labels.clamp_min(0)], labels)

    def decide(self, prediction: Tensor) -> Tensor:
        """The most probable class, (B,) long."""
        return prediction.argmax(1)

    def class_weights(self, labels: Tensor) -> Tensor:
        """Weights (C,) as scikit-learn's "balanced"."""
        return balanced_class_weights(labels, self.outputs)

    def logs(self, output: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Accuracy on labelled samples."""
        right = (output.argmax(1) == labels).sum()
        return {"accuracy": right / is_labelled(labels).sum().clamp_min(1)}

    def kd_loss(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """KL divergence of softened probabilities (Hinton et al. 2015), from logits."""
        return kd_loss(student, teacher, temperature)
