"""Did pretraining pay? The gain of paired runs with its interval over seeds and test samples, and the verdict.

A comparison is the difference of two runs' scores, with pretraining less without, for each seed and each test sample:
(S, n), of right answers -1, 0 or 1. Gains and what is worth having are in points of per cent.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.functional.crossed import Crossed, crossed_half_width, crossed_variances, no_spread

PAYS, CANNOT_TELL, DOES_NOT_PAY = 1, 0, -1

_HALVINGS = 50  # of the interval in which the logarithm of a p-value is sought, from 1e-15 to a half


class Estimate(NamedTuple):
    """Gains in points, with their interval; tensors (...) in float64."""

    gain: Tensor  # mean over seeds and test samples
    low: Tensor  # bounds of the two-sided interval, infinite where there is none
    high: Tensor
    spread: Crossed  # variances between seeds and between test samples, points squared


def estimate(difference: Tensor, alpha: float = 0.05) -> Estimate:
    """Gain of comparisons, for other seeds and other test samples than those measured.

    A single seed or a single sample has no interval: its bounds are infinite. The interval is too narrow where runs
    have fewer than 5 test samples wrong, whose number is far from normal.

    Args:
        difference: Scores with pretraining less scores without, of a dtype with a sign, (..., S, n), of S seeds and n
            samples. Scores should be 0 to 1: the unit of a point rests on it, and the interval where nothing differs.
        alpha: Chance that the interval misses the gain.

    Raises:
        ValueError: no seed or no sample, or differences that are not finite.
    """
    seeds, samples = difference.shape[-2:]
    if not seeds * samples:
        raise ValueError(f"a comparison needs seeds and test samples, but there are {seeds} and {samples}")
    gain = 100 * difference.mean((-2, -1), dtype=torch.float64).cpu()
    spread = in_points(crossed_variances(difference))
    if not gain.isfinite().all():
        raise ValueError("scores are not finite: leave out the seeds or test samples without a score")
    half = half_width(gain, spread, alpha)
    return Estimate(gain, gain - half, gain + half, spread)


def in_points(spread: Crossed) -> Crossed:
    """Variances of shares as those of points of per cent."""
    v_seeds, v_samples, v_rest = (100**2 * variance for variance in spread[:3])
    return Crossed(v_seeds, v_samples, v_rest, spread.seeds, spread.samples)


def half_width(gain: Tensor, spread: Crossed, alpha: float | Tensor) -> Tensor:
    """Half the width of the interval of gains (...), in points.

    Where all differences are the same, no spread was seen, which does not say that there is none. The interval is then
    the rule of three: at most a share of log(2 / alpha) / n of all samples goes otherwise, each by 1 at most beyond 0.
    """
    rule_of_three = (2 / torch.as_tensor(alpha)).log() / spread.samples * (100 + gain.abs())
    return torch.where(no_spread(spread), rule_of_three, crossed_half_width(spread, alpha))


def one_sided_p(found: Estimate, worth: float = 0.0) -> tuple[Tensor, Tensor]:
    """How likely gains as found, or further from ``worth``, are where the gain in truth is ``worth``.

    Args:
        found: Comparisons (...).
        worth: The gain that is tested, in points.

    Returns:
        p-values of a gain above ``worth``, and of one below, (...) each, from 1e-15: alpha / 2 where the interval of
        1 - alpha ends at ``worth``.
    """
    distance = (found.gain - worth).abs()
    low, high = (torch.full_like(distance, math.log(p)) for p in (1e-15, 0.5))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        wider = half_width(found.gain, found.spread, 2 * middle.exp()) > distance
        low, high = torch.where(wider, middle, low), torch.where(wider, high, middle)
    p = high.exp()
    above = found.gain > worth
    return torch.where(above, p, 1 - p), torch.where(above, 1 - p, p)


def verdicts(found: Estimate, worth: float = 1.0, alpha: float = 0.05) -> Tensor:
    """Verdicts of comparisons, each of which is alone.

    Args:
        found: Comparisons (...).
        worth: The smallest gain worth having, in points.
        alpha: Twice the chance of a wrong verdict: of "pays" where the gain is not more than ``worth``, and of "does
            not pay" where it is not less.

    Returns:
        ``PAYS`` where the interval of alpha lies above ``worth``, ``DOES_NOT_PAY`` where it lies below, ``CANNOT_TELL``
        elsewhere; (...)
    """
    half = half_width(found.gain, found.spread, alpha)
    return PAYS * (found.gain - half > worth).int() + DOES_NOT_PAY * (found.gain + half < worth).int()


def family_verdicts(found: Estimate, worth: float = 1.0, alpha: float = 0.05) -> Tensor:
    """Verdicts of comparisons that are looked at together (techniques, label budgets), by Holm's step-down rule.

    Each direction is a family of its own, at alpha / 2: the chance of one or more false "pays" in all is at most that,
    and so is the chance of one or more false "does not pay", whichever comparisons pay in truth and however they depend
    on each other (they share the runs without pretraining).

    Args:
        found: Comparisons (..., M), M of which are a family.
        worth: The smallest gain worth having, in points.
        alpha: Twice the chance of any wrong verdict of one direction.

    Returns:
        As ``verdicts``, (..., M).
    """
    above, below = (holm(p) < alpha / 2 for p in one_sided_p(found, worth))
    return PAYS * above.int() + DOES_NOT_PAY * below.int()


def holm(p: Tensor) -> Tensor:
    """p-values adjusted for a family by Holm's step-down rule (1979); those below a level are rejected at that level.

    Args:
        p: p-values (..., M) of M hypotheses.

    Returns:
        (..., M)
    """
    ascending, order = p.sort(-1)
    left = torch.arange(p.shape[-1], 0, -1, dtype=p.dtype)  # hypotheses not rejected when each is looked at
    adjusted = (ascending * left).cummax(-1).values.clamp(max=1)
    return torch.empty_like(p).scatter(-1, order, adjusted)


def as_good_as_best(scores: Tensor, alpha: float = 0.05) -> Tensor:
    """Techniques that the data do not put behind another one: a list that holds the best with 1 - alpha.

    A technique is left out where one of the other K - 1 is better at the level alpha / (K - 1), one-sided (multiple
    comparisons with the best, Hsu 1981, with Bonferroni's bound for Dunnett's quantile). That the best was chosen by
    the same data needs no further allowance: the one that is best in truth is only left out where one of its own K - 1
    comparisons errs. The best as measured is never left out.

    Args:
        scores: Scores 0 to 1, or right answers, of the same seeds and samples for all techniques, (..., K, S, n).
        alpha: Chance that the best is left out; where several are best, of each of them.

    Returns:
        Which techniques are on the list, (..., K).
    """
    if scores.dtype in (torch.bool, torch.uint8):
        scores = scores.to(torch.int8)  # with a sign
    behind, others = [], max(scores.shape[-3] - 1, 1)
    for one in scores.split(1, -3):  # (..., 1, S, n)
        ahead = estimate(scores - one, 2 * alpha / others)
        behind.append((ahead.low > 0).any(-1))
    return ~torch.stack(behind, -1)


def looks(first: int, last: int, alpha: float = 0.05) -> list[tuple[int, float]]:
    """When a comparison that may stop early is looked at: after 3, 5, 8 and 12 seeds of 3 to 12.

    Four looks at most, each about as many times the seeds of the one before. Each has the same part of alpha, so that
    wrong verdicts of all looks together are as rare as those of one look with alpha (Bonferroni).

    Args:
        first: Seeds at the first look, at least 2.
        last: Seeds at the last look.
        alpha: The error of all looks together.

    Returns:
        Numbers of seeds, ascending, and the alpha of each.

    Raises:
        ValueError: fewer than 2 seeds, or a last look before the first.
    """
    if not 2 <= first <= last:
        raise ValueError(f"seeds {first}..{last}: expected at least 2, and no fewer at the last look than at the first")
    seeds = sorted({round(first * (last / first) ** (i / 3)) for i in range(4)})
    return [(count, alpha / len(seeds)) for count in seeds]
