"""Self-organising maps: grids of units, neighbourhoods on them, and sums that need no loop over samples or units.

K = rows * columns units, numbered row by row. Between samples (B, D) and units (K, D) everything is a product of
matrices; there is never a tensor (B, K, D).
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Topology = Literal["rectangular", "hexagonal"]
Neighbourhood = Literal["gaussian", "bubble", "mexican_hat"]
Decay = Literal["linear", "exponential", "inverse"]
Init = Literal["pca", "sample", "random"]

_IN_CACHE = 256  # samples
_SUBSPACE, _ITERATIONS = 12, 12  # directions and rounds in the search for two
_ROW = math.sqrt(3) / 2  # distance between the rows of a hexagonal grid whose units are 1 apart


def grid_positions(rows: int, columns: int, topology: Topology = "rectangular") -> Tensor:
    """Positions of units, (K, 2): down and right. On a hexagonal grid every second row is moved half a unit right."""
    down, right = torch.meshgrid(torch.arange(rows).float(), torch.arange(columns).float(), indexing="ij")
    if topology == "hexagonal":
        right = right + (down % 2) / 2
        down = down * _ROW
    return torch.stack([down, right], 2).flatten(0, 1)


def axis_distances(count: int, spacing: float, torus: bool) -> Tensor:
    """Distances along a line of units, (count, count); on a torus its ends meet."""
    place = torch.arange(count) * spacing
    distance = (place.unsqueeze(1) - place).abs()
    return torch.minimum(distance, count * spacing - distance) if torus else distance


def grid_distances(rows: int, columns: int, topology: Topology = "rectangular", torus: bool = False) -> Tensor:
    """Squared distances between all units on the grid, (K, K).

    Raises:
        ValueError: a hexagonal torus with an odd number of rows, whose first and last rows would not fit.
    """
    if topology == "hexagonal" and torus and rows % 2:
        raise ValueError(f"a hexagonal torus needs an even number of rows; got {rows}")
    places = grid_positions(rows, columns, topology)
    down, right = (places.unsqueeze(1) - places).abs().unbind(2)
    if torus:
        height = rows * (_ROW if topology == "hexagonal" else 1.0)
        down, right = torch.minimum(down, height - down), torch.minimum(right, columns - right)
    return down.square() + right.square()


def neighbourhood(kind: Neighbourhood, squared: Tensor, sigma: float) -> Tensor:
    """Weight of units at these squared distances (...), 1 at distance 0.

    "gaussian" exp(-d^2 / (2 sigma^2)); "bubble" 1 up to sigma and 0 beyond; "mexican_hat" (1 - d^2 / sigma^2) times the
    Gaussian, which is negative beyond sigma.
    """
    if kind == "bubble":
        return (squared <= sigma**2 + 1e-6).float()
    gaussian = torch.exp(squared / (-2 * sigma**2))
    return gaussian if kind == "gaussian" else (1 - squared / sigma**2) * gaussian


def decayed(schedule: Decay, start: float, end: float, progress: float) -> float:
    """A value between ``start`` and ``end`` as ``progress`` goes from 0 to 1: linear, exponential, or as 1 / (1 + c t).

    >>> decayed("exponential", 8.0, 0.5, 0.5)
    2.0
    """
    if schedule == "linear":
        return start + (end - start) * progress
    if schedule == "exponential":
        return start * (end / start) ** progress
    return start / (1 + (start / end - 1) * progress)


def scores(x: Tensor, units: Tensor) -> Tensor:
    """x w - |w|^2 / 2, highest for the nearest unit: samples (B, D) and units (K, D), both about the same point not far
    from the data, to (B, K) float32 or better. The product may be in a lower precision (autocast)."""
    product = x @ units.T
    return product.to(units.dtype).sub_(units.square().sum(1) / 2)


def nearest(x: Tensor, units: Tensor) -> Tensor:
    """Numbers (B,) long of the units with the highest ``scores``; a CPU looks at few samples at a time, whose scores
    stay in its cache."""
    product, half = x @ units.T, units.square().sum(1) / 2
    parts = product.split(_IN_CACHE if x.is_cpu else max(1, len(x)))
    return torch.cat([part.to(units.dtype).sub_(half).argmax(1) for part in parts])


def distance_to(x: Tensor, units: Tensor, chosen: Tensor) -> Tensor:
    """Euclidean distance of each sample (B, D) to its unit, a row of (K, D) by number (B,): (B,)."""
    return (x - units.index_select(0, chosen)).norm(dim=1)


class UnitSums(NamedTuple):
    """Samples added up by their nearest unit, ``sums`` (K, D), and how many there are of each, ``counts`` (K,)."""

    sums: Tensor
    counts: Tensor


def unit_sums(x: Tensor, chosen: Tensor, count: int) -> UnitSums:
    """Samples (B, D) summed by their units' numbers (B,), which are below ``count``.

    >>> unit_sums(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([1, 0, 1]), 3).sums.flatten()
    tensor([2., 5., 0.])
    """
    sums = x.new_zeros(count, x.shape[1]).index_add_(0, chosen, x)
    return UnitSums(sums, torch.bincount(chosen, minlength=count).to(x.dtype))


def add_unit_sums(first: UnitSums, second: UnitSums) -> UnitSums:
    """Sums of both sets of samples."""
    return UnitSums(first.sums + second.sums, first.counts + second.counts)


def spread(values: Tensor, influence: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """Each unit's value given to its neighbours: sum over j of influence[k, j] * values[j].

    Args:
        values: (K, ...).
        influence: (K, K), or for a product of rows' and columns' (rows, rows) and (columns, columns), which costs
            K (rows + columns) products in place of K^2.
    """
    if isinstance(influence, Tensor):
        influence = influence.to(values.dtype)
        return (influence @ values.flatten(1) if values.ndim > 1 else influence @ values).view(values.shape)
    down, right = (side.to(values.dtype) for side in influence)
    over_rows = (down @ values.reshape(len(down), -1)).view(len(down), len(right), -1)
    return (right @ over_rows).reshape(values.shape)


def batch_update(units: Tensor, sums: Tensor, counts: Tensor) -> Tensor:
    """The batch rule: every unit becomes the mean of all samples, weighted by its neighbourhood (Kohonen 1993).

    Args:
        units: (K, D) as they are.
        sums, counts: (K, D) and (K,), spread over neighbours; a unit whose neighbourhood is empty does not move.
    """
    reached = counts > 1e-8
    return torch.where(reached.unsqueeze(1), sums / counts.clamp_min(1e-8).unsqueeze(1), units)


def online_update(
    units: Tensor, sums: Tensor, counts: Tensor, influence: Tensor, rate: float, signed: bool = False
) -> Tensor:
    """The classic rule for a mini-batch: what Kohonen's w += rate * h * (x - w), one sample after another, comes to.

    Samples taken one by one leave the share prod(1 - rate * h) of a unit, and the rest comes from them; here it comes
    from their mean weighted by h, in whatever order. For one sample it is Kohonen's rule. Where h is negative in places
    (Mexican hat) there is no such mean, and the step is the rule's own, summed and divided by the samples that take
    part, if they are more than one.

    Args:
        units: (K, D).
        sums, counts: (K, D) and (K,), of the mini-batch's samples by nearest unit.
        influence: h, (K, K).
        rate: 0 to 1.
        signed: Whether h is negative in places; looking would make a GPU wait.
    """
    total, weight = influence @ sums, influence @ counts
    if not signed:
        kept = torch.exp(torch.log1p((-rate * influence).clamp_min(-1 + 1e-7)) @ counts)
        mean = total / weight.clamp_min(1e-12).unsqueeze(1)
        return torch.lerp(units, mean, (1 - kept).unsqueeze(1))
    share = (influence.abs() @ counts).clamp_min(1).unsqueeze(1)
    return units + rate * (total - weight.unsqueeze(1) * units) / share


def separable_gaussian(
    rows: int, columns: int, torus: bool, sigma: float, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """The Gaussian neighbourhood of a rectangular grid as a product of rows' (rows, rows) and columns'."""
    sides = (axis_distances(count, 1.0, torus).square().to(device) for count in (rows, columns))
    down, right = (neighbourhood("gaussian", side, sigma) for side in sides)
    return down, right


def distortion(x: Tensor, scores: Tensor, around: Tensor) -> Tensor:
    """The mean over samples of all units' squared distances, weighted by the neighbourhood of the sample's unit.

    Args:
        x: (B, D), about the point that the scores are about.
        scores: (B, K), of ``scores``.
        around: (B, K), the neighbourhood of each sample's unit.
    """
    squared = (x.square().sum(1, keepdim=True) - 2 * scores).clamp_min(0)
    return (squared * around).sum(1).mean()


def neighbour_distance(grid: Tensor) -> Tensor:
    """The mean distance of units (rows, columns, D) from the next one in their row or column, a scalar."""
    steps = (grid[1:] - grid[:-1], grid[:, 1:] - grid[:, :-1])
    return torch.cat([step.norm(dim=2).flatten() for step in steps]).mean()


def adjacent(squared: Tensor, topology: Topology) -> Tensor:
    """Which units touch, (K, K): of a squared distance up to 2 (eight neighbours), hexagonal up to 1 (six)."""
    return squared <= (2 if topology == "rectangular" else 1) + 1e-3


def _leading_axes(centred: Tensor) -> Tensor:
    """The first two right singular vectors of (B, D), or fewer, times their values: (2, D).

    By subspace iteration (Halko et al. 2011) from the same directions on every process: a whole decomposition takes
    longer than an epoch does.
    """
    width, generator = min(*centred.shape, _SUBSPACE), torch.Generator().manual_seed(0)
    basis = torch.randn(centred.shape[1], width, generator=generator).to(centred)
    for _ in range(_ITERATIONS):
        basis = torch.linalg.qr(centred.T @ (centred @ basis)).Q
    _, values, vectors = torch.linalg.svd(centred @ basis, full_matrices=False)
    return (values[:2, None] * vectors[:2]) @ basis.T


def pca_units(x: Tensor, rows: int, columns: int) -> Tensor:
    """Units on the plane of the two directions in which samples (B, D) vary most, two deviations either way: (K, D).

    The longer side of the grid lies along the first. A direction's sign is such that its largest number is positive.
    """
    mean = x.mean(0)
    axes = _leading_axes(x - mean) / max(1, len(x) - 1) ** 0.5  # as long as the deviation along them
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    if len(axes) < 2:  # one sample, or one number
        axes = torch.cat([axes, axes.new_zeros(2 - len(axes), x.shape[1])])
    first, second = (axes[0], axes[1]) if rows >= columns else (axes[1], axes[0])
    down, right = (
        torch.linspace(-2, 2, n, dtype=x.dtype, device=x.device) if n > 1 else x.new_zeros(1) for n in (rows, columns)
    )
    grid = mean + down.view(-1, 1, 1) * first + right.view(1, -1, 1) * second
    return grid.flatten(0, 1)


def initial_units(init: Init, x: Tensor, rows: int, columns: int, generator: torch.Generator | None = None) -> Tensor:
    """Units to begin with, (K, D).

    Args:
        init: "pca" on the plane in which samples vary most, "sample" on samples, "random" around their mean, with their
            standard deviation.
        x: (B, D), samples.
        rows, columns: Sides of the grid.
        generator: On the CPU, of random choices.
    """
    count = rows * columns
    if init == "pca":
        return pca_units(x, rows, columns)
    if init == "sample":
        picks = torch.randperm(len(x), generator=generator).repeat(-(-count // len(x)))[:count]
        return x[picks.to(x.device)]
    noise = torch.randn(count, x.shape[1], generator=generator).to(x)
    return x.mean(0) + noise * x.std(0)
