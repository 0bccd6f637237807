"""Distillation losses: distances between a student's and a teacher's outputs, feature maps, and sample relations.

B is the batch, C the classes, D the length of a feature vector. All losses are means over the batch in float32; the
teacher's side comes second, without gradients.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.functional.precision import full_precision


def _in_full_precision(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compute a loss in float32, without autocast."""

    @wraps(loss)
    def full(*tensors: Any, **options: Any) -> Tensor:
        with torch.autocast(tensors[0].device.type, enabled=False):
            floats = (full_precision(t) if isinstance(t, Tensor) and t.is_floating_point() else t for t in tensors)
            return loss(*floats, **options)

    return full


@_in_full_precision
def kd_loss(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)) (Hinton et al. 2015).

    The factor T^2 keeps the size of its gradients independent of the temperature.

    Args:
        student, teacher: Logits (B, C).
        temperature: Temperature T, more than 0.
    """
    log_p, log_q = (F.log_softmax(logits / temperature, 1) for logits in (student, teacher))
    return temperature**2 * F.kl_div(log_p, log_q, log_target=True, reduction="batchmean")


@_in_full_precision
def binary_kd_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """T^2 times the mean over samples and labels of KL(teacher || student), each label a Bernoulli variable.

    Args:
        student, teacher: Logits (B, C) of labels that do not exclude each other.
        temperature: Temperature T, more than 0.
    """
    student, teacher = student / temperature, teacher / temperature
    p = teacher.sigmoid()
    cross, entropy = (F.binary_cross_entropy_with_logits(logits, p) for logits in (student, teacher))
    return temperature**2 * (cross - entropy)


@_in_full_precision
def dkd_loss(
    student: Tensor, teacher: Tensor, label: Tensor, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0
) -> Tensor:
    """Decoupled distillation (Zhao et al. 2022): confidence in the target class, and the distribution of the others.

    T^2 (alpha KL(target or not) + beta KL(the others among themselves)). In Hinton's loss the second is weighted by
    the teacher's probability of the others, which vanishes where it is confident.

    Args:
        student, teacher: Logits (B, C), C of 2 or more.
        label: Target classes (B,) long; -1 is the teacher's most likely class.
        alpha: Weight of the first term.
        beta: Weight of the second term.
        temperature: Temperature T, more than 0.
    """
    label = torch.where(label < 0, teacher.argmax(1), label).unsqueeze(1)
    target = torch.zeros_like(student, dtype=torch.bool).scatter_(1, label, True)
    parts = [_decoupled(logits / temperature, target, label) for logits in (student, teacher)]
    (sure_s, rest_s), (sure_t, rest_t) = parts
    losses = (F.kl_div(s, t, log_target=True, reduction="none") for s, t in ((sure_s, sure_t), (rest_s, rest_t)))
    first, second = (loss.sum(1).mean() for loss in losses)
    return temperature**2 * (alpha * first + beta * second)


def _decoupled(logits: Tensor, target: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities (B, 2) of the target and of all others, and (B, C) of each among the others: 0 of the target,
    which cancels since a divergence's term of it is e^0 (0 - 0)."""
    others = logits.masked_fill(target, -torch.inf)
    pair = torch.stack([logits.gather(1, label).squeeze(1), others.logsumexp(1)], 1)
    return F.log_softmax(pair, 1), F.log_softmax(others, 1).masked_fill(target, 0)


@_in_full_precision
def standardise_logits(logits: Tensor, eps: float = 1e-7) -> Tensor:
    """Each sample's logits with mean 0 and standard deviation 1 (Sun et al. 2024), so that the student learns their
    order and proportions and not the teacher's scale: (B, C) to (B, C), C of 2 or more, for ``kd_loss`` or
    ``dkd_loss``."""
    std, mean = torch.std_mean(logits, 1, keepdim=True)
    return (logits - mean) / (std + eps)


@_in_full_precision
def hint_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared difference of a layer's outputs (B, ...), the student's already in the teacher's shape (Romero
    et al. 2015, equation 3; the mean instead of half the sum, so that a weight suits layers of any size)."""
    return F.mse_loss(student, teacher)


@_in_full_precision
def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared difference of normalised attention maps, where the activations are large (Zagoruyko & Komodakis
    2017). As in the authors' code, from which the customary weight of 1,000 comes; the paper has the difference's norm.

    Args:
        student, teacher: Feature maps (B, C, H, W); channels may differ, and of two sizes the larger is averaged down.
    """
    size = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
    first, second = (
        F.adaptive_avg_pool2d(x.square().mean(1, keepdim=True), size).flatten(1) for x in (student, teacher)
    )
    return F.mse_loss(F.normalize(first), F.normalize(second))


def _products(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of vectors (B, D) about their mean: products and squared distances, (B, B) each, the latter 0 where rounding
    leaves nothing of them."""
    x = x.flatten(1)
    x = x - x.mean(0)  # distances stay the same, and a large mean would cancel only after rounding
    products = x @ x.T
    lengths = products.diagonal()
    sums = lengths.unsqueeze(1) + lengths
    squares = sums - 2 * products
    return products, torch.where(squares > 1e-6 * sums, squares, 0).fill_diagonal_(0)


def _reciprocal(squares: Tensor) -> Tensor:
    """1 / sqrt, and 0 of 0, with finite gradients everywhere."""
    present = squares > 0
    return torch.where(present, torch.where(present, squares, 1).rsqrt(), 0)


@_in_full_precision
def rkd_distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Smooth L1 between all distances within a batch, in units of their mean (Park et al. 2019, section 3.2.1).

    Args:
        student, teacher: Features (B, ...), of any two sizes.
    """
    student, teacher = (_relative_distances(x) for x in (student, teacher))
    return F.smooth_l1_loss(student, teacher)


def _relative_distances(x: Tensor) -> Tensor:
    _, squares = _products(x)
    distances = squares * _reciprocal(squares)
    return distances * ((squares > 0).sum() / distances.sum().clamp_min(1e-12))


@_in_full_precision
def rkd_angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Smooth L1 between the cosines of the angles that all triples of a batch form (Park et al. 2019, section 3.2.2).

    From the products of pairs, in memory for (B, B, B) values instead of (B, B, D).

    Args:
        student, teacher: Features (B, ...), of any two sizes.
    """
    student, teacher = (_cosines(x) for x in (student, teacher))
    return F.smooth_l1_loss(student, teacher)


def _cosines(x: Tensor) -> Tensor:
    """(B, B, B): at j between i and k, (x_i - x_j) (x_k - x_j) over both lengths."""
    products, squares = _products(x)
    reciprocal = _reciprocal(squares)
    own = products.diagonal()[:, None, None] - products.unsqueeze(2) - products.unsqueeze(1)  # of j; j, i; j, k
    return (own + products) * reciprocal.unsqueeze(2) * reciprocal.unsqueeze(1)


@_in_full_precision
def contrast_scores(anchors: Tensor, positives: Tensor, negatives: Tensor, temperature: float = 0.07) -> Tensor:
    """e^(product / temperature) of each anchor with its positive, and with all negatives.

    Tian et al. draw negatives for each sample; here a batch shares them, so that they are one product of matrices.

    Args:
        anchors, positives: Unit vectors (B, D).
        negatives: Unit vectors (K, D).

    Returns:
        Scores (B, 1 + K), the positive's first.
    """
    own = (anchors * positives).sum(1, keepdim=True)
    return (torch.cat([own, anchors @ negatives.T], 1) / temperature).exp()


@_in_full_precision
def crd_loss(scores: Tensor, constant: Tensor | float, population: int, eps: float = 1e-7) -> Tensor:
    """Contrastive distillation (Tian et al. 2020, equations 10 and 18): is a pair of one sample, or of two?

    With h = score / constant, h / (h + K / N) is the probability of one. As in the authors' code, where equation 19
    has the score's sigmoid.

    Args:
        scores: Scores (B, 1 + K), the true pair's first.
        constant: Normalising constant of the scores over N samples, N times their mean.
        population: Number of samples, N.
        eps: Small constant that keeps the logarithm finite.
    """
    noise = (scores.shape[1] - 1) / population
    h = scores / constant
    true = (h[:, 0] / (h[:, 0] + noise + eps)).log()
    false = (noise / (h[:, 1:] + noise + eps)).log()
    return -(true.mean() + false.sum(1).mean())
