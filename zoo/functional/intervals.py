"""How far chance reaches: intervals of shares and means, and of the difference of two classifiers."""

import math
from collections.abc import Sequence

_Z = 1.959963984540054  # of the two-sided 95 % interval


def wilson(right: float, n: float, z: float = _Z) -> tuple[float, float]:
    """Interval of a share, 95 % by default (Wilson 1927): holds near 0 and 1, and for few samples.

    Args:
        right: Number of samples with the property, 0 to ``n``.
        n: Number of samples, more than 0.
        z: Quantile of the standard normal distribution.
    """
    share, spread = right / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def chance_difference(only_first: float, only_second: float, n: float, z: float = _Z) -> float:
    """Largest difference of two shares of right answers on the same samples that is chance, 95 % by default.

    Samples on which both are right, or both wrong, say nothing of which is better (McNemar 1947): of the others each is
    a coin's throw. At least one sample's worth, since two classifiers that never differ were not told apart.

    Args:
        only_first: Number of samples that only the first classifier has right.
        only_second: Number of samples that only the second has right.
        n: Number of all samples.
        z: Quantile of the standard normal distribution.
    """
    return max(1.0, z * math.sqrt(only_first + only_second)) / n


def independent_difference(first: float, n_first: int, second: float, n_second: int, z: float = _Z) -> float:
    """Largest difference of two shares on different samples, or of unknown pairs, that is chance.

    Args:
        first: The first share, 0 to 1.
        n_first: Number of its samples.
        second: The second share, 0 to 1.
        n_second: Number of its samples.
        z: Quantile of the standard normal distribution.
    """
    pooled = (first * n_first + second * n_second) / (n_first + n_second)
    half = z * math.sqrt(pooled * (1 - pooled) * (1 / n_first + 1 / n_second))
    return max(half, 1 / min(n_first, n_second))


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of a few runs by Student's t.

    Args:
        values: At least two values.
    """
    from scipy.stats import t  # a large import, needed by comparisons only

    n = len(values)
    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
    return mean - half, mean + half


def mean_difference_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the difference of two means, first less second, of variances that may differ (Welch 1947).

    Args:
        first: At least two values.
        second: At least two values, of other runs than the first.
    """
    from scipy.stats import t

    squares = [_squared_error(values) for values in (first, second)]
    difference = math.fsum(first) / len(first) - math.fsum(second) / len(second)
    if not any(squares):
        return difference, difference
    lost = sum(square**2 / (len(values) - 1) for square, values in zip(squares, (first, second), strict=True))
    half = float(t.ppf(0.975, sum(squares) ** 2 / lost)) * math.sqrt(sum(squares))
    return difference - half, difference + half


def _squared_error(values: Sequence[float]) -> float:
    """The squared standard error of a mean."""
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)


def jackknife(value: float, without_one: Sequence[float]) -> tuple[float, float]:
    """95 % interval of a statistic of n samples by the jackknife (Tukey 1958), with Student's t of n - 1 degrees.

    Args:
        value: The statistic.
        without_one: The statistic without each of the samples, n values, at least two.
    """
    from scipy.stats import t  # a large import, needed by comparisons only

    n = len(without_one)
    mean = math.fsum(without_one) / n
    error = math.sqrt((n - 1) / n * math.fsum((other - mean) ** 2 for other in without_one))
    half = float(t.ppf(0.975, n - 1)) * error
    return value - half, value + half
