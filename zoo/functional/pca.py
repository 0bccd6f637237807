"""Principal components and the Gaussian that goes with them: pure functions of moments, variances and axes.

N rows of D numbers, K components. Variances have the divisor N - 1 and descend, as in scikit-learn.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.functional.moments import Moments, covariance

Wanted = int | float | Literal["mle"]
OVERFLOW_HINT = "are inputs so large that their squares overflow? Scale them, or use float64"
_NOISE = 1e-7  # relative, of sums of products in float32


def random_directions(dim: int, width: int, seed: int = 0) -> Tensor:
    """Omega (dim, width), Gaussian: the same for a seed wherever it is made."""
    return torch.randn(dim, width, generator=torch.Generator().manual_seed(seed))


def principal_axes(moments: Moments) -> tuple[Tensor, Tensor]:
    """All variances (D,) and axes (D, D), a row each, from the exact covariance. float64. ``moments.product`` is
    overwritten.

    What is within rounding of 0 is 0, as in constant columns; so is all after the first N - 1.
    """
    values, vectors = torch.linalg.eigh(covariance(moments))
    values = values.flip(0)
    rounding = len(values) * torch.finfo(values.dtype).eps * values[0].clamp_min(0)
    real = (values > rounding) & (torch.arange(len(values), device=values.device) < moments.rows - 1)
    return torch.where(real, values, 0.0), vectors.T.flip(0)


def nystrom_axes(moments: Moments, directions: Tensor) -> tuple[Tensor, Tensor]:
    """W variances (W,) and axes (W, D) from the sketch Y = C Omega of the covariance C. float64.

    They are those of the Nystroem approximation A = Y (Omega^T Y)^+ Y^T (Halko et al. 2011; Tropp et al. 2017, "Fixed-
    rank approximation of a positive-semidefinite matrix from streaming data"). A never exceeds C, so no variance is
    overstated, and the sum of all that is missing, trace(C) - trace(A), is known exactly: no variance, and no
    direction's variance, is off by more. In expectation over Omega, for every r < W - 1, it is at most
    (1 + r / (W - r - 1)) times the sum of the variances after the r-th. Both to within the rounding of Y.
    """
    omega = directions.double()
    sketch = covariance(moments, directions)
    core = omega.T @ sketch
    values, vectors = torch.linalg.eigh((core + core.T) / 2)
    kept = values > len(values) * _NOISE * values[-1].clamp_min(0)
    root = torch.where(kept, values, 1.0).rsqrt() * kept  # what is rounding contributes nothing
    axes, scale, _ = torch.linalg.svd(sketch @ (vectors * root), full_matrices=False)
    return scale.square(), axes.T


def find_axes(moments: Moments, directions: Tensor | None) -> tuple[Tensor, Tensor]:
    """Variances and axes, a row each: ``principal_axes``, or with directions ``nystrom_axes``."""
    return principal_axes(moments) if directions is None else nystrom_axes(moments, directions)


def orient(axes: Tensor) -> Tensor:
    """Axes (K, D) with signs such that each row's largest number in size is positive, as in scikit-learn.

    >>> orient(torch.tensor([[0.6, -0.8], [0.8, 0.6]]))
    tensor([[-0.6000,  0.8000],
            [ 0.8000,  0.6000]])
    """
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    return axes * torch.where(largest < 0, -1.0, 1.0)


def choose_components(wanted: Wanted, values: Tensor, total: float, rows: int) -> int:
    """How many components to keep.

    Args:
        wanted: Their number; a fraction between 0 and 1 of the variance, to be exceeded; or "mle", Minka's choice.
        values: The variances, all of them or the W of a sketch.
        total: Total variance of the data, which fractions refer to.
        rows: N.

    Raises:
        ValueError: fewer rows than are needed, or a sketch without the variance that is wanted.

    >>> choose_components(0.8, torch.tensor([6.0, 3.0, 1.0]), 10.0, rows=100)
    2
    """
    if wanted == "mle":
        if rows < len(values):
            raise ValueError(f"n_components 'mle' needs as many rows as columns; there are {rows} and {len(values)}")
        return mle_dimension(values, rows)
    if isinstance(wanted, int):
        if rows < wanted:
            raise ValueError(f"n_components is {wanted}, but there are only {rows} rows: it can be that at most")
        return wanted
    share = values.cumsum(0) / (total or 1.0)
    if total > 0 and share[-1] <= wanted and share[-1] < 1 - 1e-9:
        raise ValueError(
            f"n_components is {wanted:g} of the variance, but the sketch's {len(values)} directions hold only "
            f"{share[-1].item():.3g}: raise sketch_size"
        )
    return min(int((share <= wanted).sum()) + 1, len(values)) if total > 0 else 1


def mle_dimension(values: Tensor, rows: int) -> int:
    """The number of components with the highest evidence, 1 to D - 1 (Minka 2000, equation 77).

    scikit-learn's sums over pairs i < j, of which there are D^3 in all, from cumulative sums. Where axis ``r`` has no
    variance there is no evidence for ``r`` components.

    Args:
        values: All D variances.
        rows: N.
    """
    dim, eps = len(values), 1e-15
    if dim < 2:
        return dim
    rank = torch.arange(1, dim, dtype=torch.float64, device=values.device)
    known = values[:-1] >= eps
    lam = torch.where(values >= eps, values, 1.0)
    half = (dim - rank + 1) / 2
    uniform = (-math.log(2) + torch.lgamma(half) - half * math.log(math.pi)).cumsum(0)
    rest = ((values.sum() - values.cumsum(0)[:-1]) / (dim - rank)).clamp_min(eps)  # the noise that is left
    fit = -rows / 2 * (lam.log().cumsum(0)[:-1] + (dim - rank) * rest.log())
    free = dim * rank - rank * (rank + 1) / 2

    tiny = torch.finfo(values.dtype).tiny
    gaps = (values[:, None] - values[None, :]).clamp_min(tiny).log().triu(1)  # (D, D): log(l_i - l_j)
    within = gaps.sum(0).cumsum(0)[:-1]  # pairs i < j <= rank
    across = gaps.sum(1).cumsum(0)[:-1] - within  # pairs i <= rank < j
    reach = (1 / rest[None, :] - 1 / lam[:-1, None]).clamp_min(tiny).log().triu().sum(0)  # i <= rank
    inverse = within - (rank - 1) * lam.log().cumsum(0)[:-1]  # log(1 / l_j - 1 / l_i) of the pairs within
    hessian = within + across + inverse + (dim - rank) * reach + free * math.log(rows)
    evidence = uniform + fit + math.log(2 * math.pi) * (free + rank) / 2 - hessian / 2 - rank * math.log(rows) / 2
    return int(torch.where(known, evidence, -torch.inf).argmax()) + 1


def noise_variance(values: Tensor, total: float, components: int, rank: int) -> float:
    """What probabilistic PCA takes for noise: the mean of the variances after the first K (Tipping & Bishop 1999).

    Args:
        values: The first variances, K at least.
        total: The sum of all.
        components: K.
        rank: Number of variances, min(N, D).
    """
    left = max(total - values[:components].sum().item(), 0.0)
    return left / (rank - components) if rank > components and left > 1e-12 * total else 0.0


def residual(x: Tensor, codes: Tensor) -> Tensor:
    """Squared distance of centred rows (B, D) from what K orthonormal axes rebuild of them from codes (B, K): (B,)."""
    return (x.square().sum(1) - codes.square().sum(1)).clamp_min(0)


def log_density(codes: Tensor, left: Tensor, variances: Tensor, noise: Tensor, dim: int) -> Tensor:
    """log p(x) under probabilistic PCA's Gaussian, in nats: scikit-learn's ``score_samples``, (B,).

    Args:
        codes: Codes of centred rows on the axes, (B, K).
        left: Squared distances left over, as from ``residual``, (B,).
        variances: (K,), positive.
        noise: (), the variance of all other directions; not used if K = D.
        dim: D.
    """
    rest = dim - len(variances)
    distance, volume = (codes.square() / variances).sum(1), variances.log().sum()
    if rest:
        distance, volume = distance + left / noise, volume + rest * noise.log()
    return -0.5 * (distance + volume + dim * math.log(2 * math.pi))


def check_components(wanted: Any, dim: int, sketch_size: int | None = None) -> None:
    """Refuse a number of components that inputs of ``dim`` numbers cannot have.

    Raises:
        ValueError: neither 1 to ``dim``, nor a fraction between 0 and 1, nor "mle" or None; no size of a sketch.
    """
    if sketch_size is not None and sketch_size < 1:
        raise ValueError(f"sketch_size must be 1 or more; got {sketch_size}")
    if wanted is None or wanted == "mle":
        return
    if isinstance(wanted, bool) or not isinstance(wanted, int | float):
        raise ValueError(f"n_components must be a number, a fraction or 'mle'; got {wanted!r}")
    if isinstance(wanted, int) and not 1 <= wanted <= dim:
        raise ValueError(f"n_components must be 1 to {dim}, the numbers in an input; got {wanted}")
    if isinstance(wanted, float) and not 0 < wanted < 1:
        raise ValueError(f"n_components as a fraction of the variance must be between 0 and 1; got {wanted}")


def choose_sketch_size(wanted: Wanted, size: int | None, dim: int) -> int:
    """W for so many components (a number, a fraction of the variance) of inputs of ``dim`` numbers; None chooses.

    Raises:
        ValueError: too few for the components, or "mle", which needs all variances.
    """
    if wanted == "mle":
        raise ValueError("n_components 'mle' needs all variances, and a sketch has not: use method 'exact'")
    least = wanted + 1 if isinstance(wanted, int) else 2
    if size is None:
        size = max(4 * wanted, wanted + 64) if isinstance(wanted, int) else 256
    if size < min(least, dim):
        raise ValueError(f"sketch_size must be {least} or more for n_components {wanted}; got {size}")
    return min(size, dim)


def total_variance(moments: Moments) -> float:
    """The sum of all variances.

    Raises:
        ValueError: fewer than two rows, or sums that have overflowed.
    """
    rows, total = int(moments.rows), moments.energy - moments.total.square().sum() / moments.rows
    if rows < 2:
        raise ValueError(f"principal components need 2 rows or more; there is only {rows}")
    if not total.isfinite():
        raise ValueError(f"the sums of squares are not finite: {OVERFLOW_HINT}")
    return max(total.item(), 0.0) / (rows - 1)


def draw_gaussian(n: int, mean: Tensor, components: Tensor, variance: Tensor, noise_variance: Tensor) -> Tensor:
    """Samples (n, D) of probabilistic PCA's Gaussian: K directions as they vary, all others as noise.

    Args:
        n: Number of samples.
        mean, components, variance, noise_variance: (D,), (K, D), (K,) and (), in float64.
    """
    noise, (k, dim) = noise_variance.to(components), components.shape
    along = torch.randn(n, k, device=components.device).double()
    around = torch.randn(n, dim, device=components.device).double() * noise.sqrt()
    along = along * (variance - noise).clamp_min(0).sqrt()
    return mean + along @ components + around
