"""Fine-tuning: losses that ignore unlabelled samples, mixup, distances from and interpolation with initial weights.

``output`` is the head's output, (B, C). Labels are (B,) long with -1 for unlabelled samples; of a multi-label
problem (B, C) floats of 0 and 1; of a regression (B, K) floats; in both a row of NaN is unlabelled.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Task = Literal["classification", "multilabel", "regression"]


def is_labelled(labels: Tensor) -> Tensor:
    """Which samples are labelled, (B,) bool."""
    return labels >= 0 if labels.ndim == 1 and not labels.is_floating_point() else ~labels.isnan().any(-1)


def classification_loss(
    output: Tensor, labels: Tensor, class_weight: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy, the mean over labelled samples; zero where there are none.

    Args:
        output: Logits (B, C).
        labels: Labels (B,) long, -1 for unlabelled samples.
        class_weight: Weights of the classes' samples, (C,); the mean is the weighted one.
        smoothing: Share of the label that is spread over all classes (Szegedy et al. 2016), 0 to 1.
    """
    total = F.cross_entropy(output, labels, class_weight, ignore_index=-1, label_smoothing=smoothing, reduction="sum")
    count = is_labelled(labels).float() if class_weight is None else _weights(labels, class_weight)
    return total / count.sum().clamp_min(1e-12)


def multilabel_loss(
    output: Tensor, labels: Tensor, class_weight: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Binary cross-entropy, the mean over classes and labelled samples; zero where there are none.

    Args:
        output: Logits (B, C).
        labels: Labels (B, C), floats of 0 and 1, a row of NaN for unlabelled samples.
        class_weight: Weights of the classes' positive samples, (C,).
        smoothing: Share by which labels move towards 1/2, 0 to 1.
    """
    targets = labels.nan_to_num() * (1 - smoothing) + smoothing / 2
    each = F.binary_cross_entropy_with_logits(output, targets, pos_weight=class_weight, reduction="none")
    return _mean_of_labelled(each, labels)


def regression_loss(output: Tensor, labels: Tensor) -> Tensor:
    """Squared error, the mean over values and labelled samples; zero where there are none.

    Args:
        output: Values (B, K).
        labels: Labels (B, K), a row of NaN for unlabelled samples.
    """
    return _mean_of_labelled((output - labels.nan_to_num()).square(), labels)


def _mean_of_labelled(each: Tensor, labels: Tensor) -> Tensor:
    labelled = is_labelled(labels)
    return (each.mean(1) * labelled).sum() / labelled.sum().clamp_min(1)


def _weights(labels: Tensor, class_weight: Tensor) -> Tensor:
    return class_weight[labels.clamp_min(0)] * is_labelled(labels)


def balanced_class_weights(labels: Tensor, classes: int) -> Tensor:
    """Weights (C,) that balance the classes, N / (C N_c) as in scikit-learn; of a multi-label problem those of positive
    samples, (N - N_c) / N_c. A class without samples has the weight 1."""
    labels = labels[is_labelled(labels)]
    if labels.ndim == 2:
        positive = labels.sum(0)
        return torch.where(positive > 0, (len(labels) - positive) / positive.clamp_min(1), 1.0)
    count = labels.bincount(minlength=classes).float()
    return torch.where(count > 0, len(labels) / (classes * count.clamp_min(1)), 1.0)


def mixup(x: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Every sample blended with another one of the batch (mixup, Zhang et al. 2018).

    Args:
        x: Samples (B, ...).
        alpha: Parameter of the Beta distribution of the share; near 0 most samples stay nearly unchanged.

    Returns:
        The blended samples, the partners' indices (B,), and the share of the first, a scalar in [1/2, 1]: with less
        the partner would be the first.
    """
    order = torch.randperm(len(x), device=x.device)
    concentration = torch.full((), alpha, device=x.device)
    share = torch.distributions.Beta(concentration, concentration).sample()
    share = torch.maximum(share, 1 - share)
    return torch.lerp(x[order], x, share.to(x.dtype)), order, share


def l2_sp_distance(parameters: Iterable[Tensor], start: Iterable[Tensor]) -> Tensor:
    """Squared distance of all weights from their initial values, |w - w0|^2, a scalar (L2-SP, Li et al. 2018, who
    weight it by alpha / 2)."""
    return torch.stack([(p - s).square().sum() for p, s in zip(parameters, start, strict=True)]).sum()


@torch.no_grad()
def interpolate(start: dict[str, Tensor], end: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights between two networks of one kind (WiSE-FT, Wortsman et al. 2022).

    Args:
        start: Initial weights by name.
        end: Trained weights by name, of the same shapes; integers are taken from these.
        share: Share of ``end``, 0 to 1.
    """
    mixed = {name: value.lerp(end[name], share) for name, value in start.items() if value.is_floating_point()}
    return {name: mixed.get(name, value) for name, value in end.items()}
