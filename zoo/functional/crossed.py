"""Means over seeds and test samples, both random (crossed random effects): variances, and Student's interval."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

_NONE = 1e-18  # a smaller variance is rounding


class Crossed(NamedTuple):
    """Variances of a table of S seeds x n samples; tensors (...) in float64.

    The first is infinite of a single seed, and the second of a single sample, which show no spread.
    """

    v_seeds: Tensor  # of the means by seed
    v_samples: Tensor  # of the means by sample
    v_rest: Tensor  # of single values, beyond what their seed and their sample explain
    seeds: Tensor  # S
    samples: Tensor  # n


def crossed_variances(values: Tensor) -> Crossed:
    """Variances of tables (..., S, n) of any dtype.

    Means by seed differ by v_rest / n also where seeds do not, and means by sample by v_rest / S.
    """
    seeds, samples = values.shape[-2:]
    means = [values.mean(dim, dtype=torch.float64).cpu() for dim in (-1, -2)]
    by_seed, by_sample = (_variance(mean) for mean in means)
    floats = values if values.is_floating_point() else values.float()
    squares = torch.linalg.vector_norm(floats, dim=(-2, -1), dtype=torch.float64).cpu() ** 2
    squares -= seeds * samples * means[0].mean(-1) ** 2
    degrees = (seeds - 1) * (samples - 1)
    left = squares - (seeds - 1) * samples * by_seed - (samples - 1) * seeds * by_sample
    rest = left.clamp(min=0) / degrees if degrees else torch.zeros_like(squares)
    return Crossed(by_seed, by_sample, rest, torch.tensor(float(seeds)), torch.tensor(float(samples)))


def _variance(values: Tensor) -> Tensor:
    return values.var(-1) if values.shape[-1] > 1 else torch.full_like(values[..., 0], math.inf)


def crossed_half_width(found: Crossed, alpha: float | Tensor = 0.05) -> Tensor:
    """Half the width of the interval of a table's mean, for other seeds and other samples.

    The mean's variance is the sum of two: v_seeds / S, and what samples add of their own, (v_samples - v_rest / S) / n.
    Each is multiplied by the square of its own Student's quantile before they are added (Banerjee 1960), which holds
    the mean in at least 1 - alpha of all cases, whatever the share of each. Satterthwaite's (1946) degrees of freedom
    do not: where three seeds agree by chance, their variance and its weight are small together, and the quantile is
    that of samples, so that an interval of 95 % holds 92 %, and one of 99.2 % only 97 %.

    The interval is never narrower than that of samples alone with these seeds, since by chance their own part may come
    out as less than nothing.

    Args:
        found: Variances (...).
        alpha: Chance that the interval misses the mean, (...).

    Returns:
        (...), infinite of a single seed or sample.
    """
    of_seeds, of_samples = found.v_seeds / found.seeds, found.v_samples / found.samples
    own = (of_samples - found.v_rest / (found.seeds * found.samples)).clamp(min=0)
    t_seeds, t_samples = (student_quantile(alpha, (size - 1).clamp(min=1)) for size in (found.seeds, found.samples))
    return torch.maximum(t_seeds**2 * of_seeds + t_samples**2 * own, t_samples**2 * of_samples).sqrt()


def no_spread(found: Crossed) -> Tensor:
    """Where neither seeds nor samples differ, (...)."""
    return found.v_seeds + found.v_samples < _NONE


def forecast(found: Crossed, seeds: Tensor, samples: Tensor) -> Crossed:
    """Variances to be expected of other numbers of seeds and samples, (...), if their components stay as found."""
    of_seeds = (found.v_seeds - found.v_rest / found.samples).clamp(min=0)
    of_samples = (found.v_samples - found.v_rest / found.seeds).clamp(min=0)
    return Crossed(of_seeds + found.v_rest / samples, of_samples + found.v_rest / seeds, found.v_rest, seeds, samples)


def student_quantile(alpha: float | Tensor, df: Tensor) -> Tensor:
    """Student's quantile of two-sided intervals of 1 - alpha, for degrees of freedom ``df``, (...) in float64."""
    from scipy.special import stdtrit  # needed by comparisons only

    half = torch.as_tensor(alpha, dtype=torch.float64) / 2
    return torch.as_tensor(-stdtrit(df.double().numpy(), half.numpy()), dtype=torch.float64)
