"""Bootstrap: how far a score would move on other samples (Efron 1979)."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

_WEIGHTS_AT_ONCE = 4_000_000  # of samples in all draws together: bounds the memory


def bootstrap(scores: Callable[[Tensor], Tensor], n: int, repetitions: int = 500) -> Tensor:
    """Scores of samples that are drawn with replacement from those there are.

    The draws are always the same, so that the difference of two scores has the spread of a difference of pairs.

    Args:
        scores: Function from how often each sample was drawn, (R, N) float64, to scores (R,).
        n: Number of samples, N.
        repetitions: Number of draws, R.

    Returns:
        (R,)
    """
    generator, found = Generator().manual_seed(0), []
    for rows in torch.arange(repetitions).split(max(1, _WEIGHTS_AT_ONCE // n)):
        drawn = torch.randint(n, (len(rows), n), generator=generator)
        counts = torch.zeros(drawn.shape, dtype=torch.float64)
        found.append(scores(counts.scatter_add_(1, drawn, torch.ones_like(counts))))
    return torch.cat(found)


def percentile_interval(drawn: Tensor) -> tuple[float, float]:
    """The middle 95 % of scores (R,); those that are not finite are left out."""
    finite = drawn[drawn.isfinite()]
    low, high = finite.quantile(torch.tensor([0.025, 0.975], dtype=finite.dtype)).tolist()
    return low, high


def chance_of_differences(drawn: Tensor, found: float) -> float:
    """Largest difference of two scores that is chance: how far 95 % of resampled differences are from the one found.

    Args:
        drawn: Differences on resampled samples, (R,).
        found: The difference on the samples themselves.
    """
    finite = drawn[drawn.isfinite()]
    return float((finite - found).abs().quantile(0.95))
