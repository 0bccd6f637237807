"""Losses of joint-embedding methods: embeddings of several views of each sample agree, and do not all become one.

All are pure functions of the **whole** batch's embeddings; which process computed which row is not their concern.
V views, the first G of them global ones, N samples, D numbers: embeddings are (V, N, D) floats. Where a loss is of a
pair (u, v) of views, it is averaged over all views u and all global views v that are not u; with two views this is the
papers' symmetric loss. Computed in float32, or in float64 for embeddings in it.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.functional.precision import full_precision

_KNOTS, _LAST = 17, 3.0  # at which SIGReg compares characteristic functions: from 0 to 3, as LeJEPA's code
_EPS = 1e-5  # batch norm's


def nt_xent(views: Tensor, temperature: float, global_views: int | None = None, decoupled: bool = False) -> Tensor:
    """Normalised temperature-scaled cross-entropy of SimCLR (Chen et al. 2020), a scalar.

    A view's positive is the same sample in the other view; negatives are all other samples in both.

    Args:
        views: Embeddings (V, N, D).
        temperature: Temperature of the cosines, more than 0.
        global_views: Number of global views, G; None is all.
        decoupled: Whether the positive is left out of the denominator (DCL, Yeh et al. 2022).
    """
    z = F.normalize(full_precision(views), dim=2)
    v, n, _ = z.shape
    similarity = (z.flatten(0, 1) @ z.flatten(0, 1).T).view(v, n, v, n).transpose(1, 2) / temperature  # (V, V, N, N)
    same_sample = torch.eye(n, dtype=torch.bool, device=z.device)
    same_view = torch.eye(v, dtype=torch.bool, device=z.device)[:, :, None, None]
    left_out = same_sample if decoupled else same_sample & same_view
    sums = similarity.masked_fill(left_out, -math.inf).logsumexp(3)  # (V, V, N)
    own = sums.diagonal().T.unsqueeze(1)  # (V, 1, N): over the anchor's own view
    losses = torch.logaddexp(own, sums) - similarity.diagonal(dim1=2, dim2=3)
    return _mean_of_pairs(losses.mean(2)[:, : global_views or v])


def barlow_twins(views: Tensor, weight: float = 5e-3, global_views: int | None = None) -> Tensor:
    """Cross-correlations of two views' numbers become the identity (Zbontar et al. 2021), a scalar.

    Args:
        views: Embeddings (V, N, D).
        weight: Weight of the correlations that should be 0, against those that should be 1.
        global_views: Number of global views, G; None is all.
    """
    z = full_precision(views)
    z = (z - z.mean(1, keepdim=True)) * (z.var(1, keepdim=True, unbiased=False) + _EPS).rsqrt()
    correlation = torch.einsum("und,vne->uvde", z, z[:global_views]) / z.shape[1]  # (V, G, D, D)
    own = correlation.diagonal(dim1=2, dim2=3)
    others = correlation.square().sum((2, 3)) - own.square().sum(2)
    return _mean_of_pairs((1 - own).square().sum(2) + weight * others)


def vicreg(
    views: Tensor,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    global_views: int | None = None,
) -> Tensor:
    """Variance, invariance and covariance (Bardes et al. 2022), a scalar.

    Args:
        views: Embeddings (V, N, D).
        invariance: Weight of two views' mean squared difference.
        variance: Weight of the mean shortfall of the numbers' standard deviations below 1.
        covariance: Weight of the squared covariances of different numbers, summed over two views, divided by D.
        global_views: Number of global views, G; None is all.
    """
    z = full_precision(views)
    difference = (z.unsqueeze(1) - z[:global_views]).square().mean((2, 3))  # (V, G)
    centred = z - z.mean(1, keepdim=True)
    covariances = centred.mT @ centred / (z.shape[1] - 1)  # (V, D, D)
    own = covariances.diagonal(dim1=1, dim2=2)
    shortfall = F.relu(1 - (own + 1e-4).sqrt()).mean()
    others = (covariances.square().sum() - own.square().sum()) / (z.shape[0] * z.shape[2])
    return invariance * _mean_of_pairs(difference) + variance * shortfall + 2 * covariance * others


def negative_cosine(predictions: Tensor, targets: Tensor) -> Tensor:
    """Mean of -cosine of predictions (V, N, D) and other views' targets (G, N, D) (SimSiam, Chen & He 2021), a scalar.

    BYOL's loss (Grill et al. 2020), the squared distance of normalised vectors, is 2 + 2 times this.
    """
    p, z = F.normalize(full_precision(predictions), dim=2), F.normalize(full_precision(targets), dim=2)
    return -_mean_of_pairs(torch.einsum("und,vnd->uv", p, z) / p.shape[1])


def info_nce(predictions: Tensor, targets: Tensor, temperature: float = 0.2) -> Tensor:
    """MoCo v3's loss (Chen et al. 2021), a scalar: which of the N targets is of the same sample?

    It is scaled by 2 * temperature, as in the paper's code.

    Args:
        predictions: Predictions (V, N, D).
        targets: Targets (G, N, D).
        temperature: Temperature of the cosines, more than 0.
    """
    p, z = F.normalize(full_precision(predictions), dim=2), F.normalize(full_precision(targets), dim=2)
    logits = torch.einsum("und,vmd->uvnm", p, z) / temperature
    own = logits.diagonal(dim1=2, dim2=3)
    return 2 * temperature * _mean_of_pairs((logits.logsumexp(3) - own).mean(2))


def dino(
    predictions: Tensor,
    targets: Tensor,
    centre: Tensor,
    temperature: float = 0.1,
    target_temperature: float = 0.04,
) -> Tensor:
    """Cross-entropy of the student's distribution over prototypes with the teacher's (Caron et al. 2021), a scalar.

    Args:
        predictions: Student's logits (V, N, K).
        targets: Teacher's logits (G, N, K), without gradient.
        centre: Centre (K,), subtracted from the teacher's.
        temperature: Temperature of the student.
        target_temperature: Temperature of the teacher: lower, so that its distribution is sharper.
    """
    log_student = F.log_softmax(full_precision(predictions) / temperature, 2)
    teacher = F.softmax((full_precision(targets) - centre) / target_temperature, 2)
    return -_mean_of_pairs(torch.einsum("unk,vnk->uv", log_student, teacher) / predictions.shape[1])


def invariance(views: Tensor, global_views: int | None = None) -> Tensor:
    """Mean squared difference of embeddings (V, N, D) from the mean of their sample's global views (LeJEPA), scalar."""
    z = full_precision(views)
    return (z - z[:global_views].mean(0)).square().mean()


def lejepa(
    views: Tensor, directions: Tensor, weight: float, regulariser: str = "sigreg", global_views: int | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """LeJEPA's loss, (1 - weight) * invariance + weight * regulariser, a scalar; and its terms to log.

    Args:
        views: Embeddings (V, N, D).
        directions: Unit vectors (D, M), the same on all processes.
        weight: Weight of the regulariser, from 0 to 1.
        regulariser: Regulariser, "sigreg" or "visreg".
        global_views: Number of global views, G; None is all.
    """
    terms = {"invariance": invariance(views, global_views)}
    if regulariser == "visreg":
        terms["visreg"] = visreg(views, directions)
        return torch.lerp(terms["invariance"], terms["visreg"], weight), terms
    terms["sigreg"] = sigreg(views, directions)
    loss = torch.lerp(terms["invariance"], terms["sigreg"], weight)
    terms["sigreg_normal"] = torch.full_like(loss, SIGREG_NORMAL)
    terms["sigreg_collapsed"] = torch.full_like(loss, SIGREG_COLLAPSED * views.shape[1])
    return loss, terms


def sigreg(views: Tensor, directions: Tensor) -> Tensor:
    """How far embeddings are from a standard normal distribution (LeJEPA, Balestriero & LeCun 2025), a scalar.

    Epps and Pulley's statistic of each direction, N * integral |phi(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt, phi being
    the empirical characteristic function; trapezoids at 17 points from 0 to 3, twice; mean over views and directions.
    ``SIGREG_NORMAL`` is to be expected of truly normal embeddings, and N * ``SIGREG_COLLAPSED`` is that of zeros.

    Args:
        views: Embeddings (V, N, D).
        directions: Unit vectors (D, M), the same on all processes.
    """
    projected = full_precision(views) @ directions.to(full_precision(views).dtype)  # (V, N, M)
    cosines, sines = _CharacteristicFunction.apply(projected)  # (K, V, M) each
    normal, weight = _normal_and_weights(projected)
    squares = (cosines - normal.view(-1, 1, 1)).square() + sines.square()
    return projected.shape[1] * torch.einsum("kvm,k->vm", squares, weight).mean()


def _normal_and_weights(like: Tensor) -> tuple[Tensor, Tensor]:
    """exp(-t^2 / 2) at the knots (K,), and their trapezoids' weights times that."""
    t = torch.linspace(0, _LAST, _KNOTS, device=like.device, dtype=like.dtype)
    weight = torch.full_like(t, 2 * _LAST / (_KNOTS - 1))
    weight[0] = weight[-1] = _LAST / (_KNOTS - 1)
    normal = (-t.square() / 2).exp()
    return normal, weight * normal


class _CharacteristicFunction(torch.autograd.Function):
    """Means over N of cos(t x) and sin(t x) at the knots t: (V, N, M) to (K, V, M) twice.

    Knots are multiples of one number, so that one cosine and sine of each x, and the addition theorems, give all.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        ctx.save_for_backward(x)
        cosines, sines = zip(*((c.mean(1), s.mean(1)) for c, s in _multiples(x)), strict=True)
        return torch.stack(cosines), torch.stack(sines)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        step = _LAST / (_KNOTS - 1) / x.shape[1]
        total = torch.zeros_like(x)
        for k, (cosine, sine) in enumerate(_multiples(x)):
            by_cosine, by_sine = ((k * step * grad[k]).unsqueeze(1) for grad in grads)
            total.addcmul_(cosine, by_sine).addcmul_(sine, by_cosine, value=-1)
        return total


def _multiples(x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Cosine and sine of k h x for the knots k h, k = 0, 1, ..."""
    angle = x * (_LAST / (_KNOTS - 1))
    cosine, sine, twice = angle.cos(), angle.sin(), 2 * angle.cos()
    cosine_before, sine_before = torch.ones_like(x), torch.zeros_like(x)
    yield cosine_before, sine_before
    for _ in range(_KNOTS - 1):
        yield cosine, sine
        cosine, cosine_before = twice * cosine - cosine_before, cosine
        sine, sine_before = twice * sine - sine_before, sine


def visreg(views: Tensor, directions: Tensor) -> Tensor:
    """VISReg's regulariser (Wu et al. 2026), a scalar: unlike SIGReg's its gradient does not vanish at a collapse.

    Squared differences of each number's standard deviation from 1, and of its mean from 0; and, of embeddings divided
    by that deviation, the squared Wasserstein distance along each direction from the standard normal distribution.

    Args:
        views: Embeddings (V, N, D).
        directions: Unit vectors (D, M), the same on all processes.
    """
    z = full_precision(views)
    mean = z.mean(1, keepdim=True)
    std = (z.var(1, keepdim=True) + 1e-8).sqrt()
    scaled = (z - mean) / std.detach()
    ordered = (scaled @ directions.to(z.dtype)).sort(1).values  # (V, N, M)
    place = (torch.arange(z.shape[1], device=z.device, dtype=z.dtype) + 0.5) / z.shape[1]
    shape = (ordered - torch.special.ndtri(place).view(1, -1, 1)).square().mean()
    return (1 - std).square().mean() + mean.square().mean() + shape


def embedding_spread(views: Tensor) -> Tensor:
    """Standard deviation of normalised embeddings (V, N, D), times sqrt(D), a scalar: 1 if they point everywhere alike,
    0 if all are one (Chen & He 2021)."""
    return F.normalize(full_precision(views), dim=2).std(1).mean() * views.shape[2] ** 0.5


def unit_directions(dim: int, count: int, generator: torch.Generator) -> Tensor:
    """Random unit vectors (D, M), evenly spread, on the generator's device."""
    return F.normalize(torch.randn(dim, count, generator=generator, device=generator.device), dim=0)


def target_momentum(step: int, steps: float, momentum: float) -> float:
    """Momentum of a target network: from ``momentum`` to 1 by a half cosine over the training's steps (BYOL)."""
    return 1 - (1 - momentum) * (math.cos(math.pi * min(1.0, step / max(1.0, steps))) + 1) / 2


def _mean_of_pairs(values: Tensor) -> Tensor:
    """Mean of (V, G) over pairs of different views, the global ones being the first G of the V."""
    v, g = values.shape
    return (values.sum() - values.diagonal().sum()) / (v * g - g)


def _sigreg_of_zeros() -> float:
    normal, weight = _normal_and_weights(torch.zeros((), dtype=torch.float64))
    return float(((1 - normal).square() * weight).sum())


def _sigreg_of_normal() -> float:
    normal, weight = _normal_and_weights(torch.zeros((), dtype=torch.float64))
    return float(((1 - normal.square()) * weight).sum())  # N times the variance of the empirical function


SIGREG_NORMAL, SIGREG_COLLAPSED = _sigreg_of_normal(), _sigreg_of_zeros()
