"""What pretraining is worth in labels: how many times the labels the same accuracy takes without it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.functional.crossed import crossed_half_width, crossed_variances

_SAME = 1e-9  # accuracies that differ by less are the same but for rounding
_GROUPS = 20  # of test samples, each of which is left out once


class LabelWorth(NamedTuple):
    """How many times the labels: geometric mean of seeds, and Student's interval in logarithms.

    Seeds whose accuracy lies beyond the curve without pretraining count with the curve's end. ``times`` then is a
    bound, and the interval is open at that end: ``high`` is infinite where there are seeds ``above``, ``low`` 0 where
    there are seeds ``below``. Of a single seed both are open.
    """

    times: float
    low: float
    high: float
    seeds: int
    above: int  # seeds more accurate than the most labels without pretraining
    below: int  # seeds that the fewest labels without pretraining reach


def monotone(curve: Tensor) -> Tensor:
    """The nearest curves that never fall, in least squares (isotonic regression: pooled adjacent violators).

    Not the running maximum, which keeps what luck added to each budget and takes nothing off, so that few labels
    without pretraining would look too good. In the closed form of pooling, max over a <= i of min over b >= i of
    mean(a..b): budgets are few, and its B x B means need no loop.

    Args:
        curve: Accuracies at ascending budgets, (..., B).

    Returns:
        (..., B), never falling.
    """
    budgets = curve.shape[-1]
    sums = torch.nn.functional.pad(curve.double().cumsum(-1), (1, 0))
    place = torch.arange(budgets)
    length = (place - place[:, None] + 1).clamp(min=1)
    means = (sums[..., None, 1:] - sums[..., :-1, None]) / length  # (..., a, b), of use where a <= b
    least = means.flip(-1).cummin(-1).values.flip(-1)  # (..., a, i): over b >= i
    return least.masked_fill(place[:, None] > place, -math.inf).amax(-2)


def labels_needed(accuracy: Tensor, curve: Tensor, budgets: Sequence[float]) -> tuple[Tensor, Tensor]:
    """The fewest labels at which a curve that never falls, linear in log labels, reaches an accuracy.

    Args:
        accuracy: Accuracies to be reached, (...).
        curve: Accuracies without pretraining at each budget, (..., B), made monotone here.
        budgets: Numbers of labels, ascending, B.

    Returns:
        Logarithms of numbers of labels, (...), not beyond the budgets; and 1 where the curve ends below the accuracy,
        -1 where it begins at it or above, 0 elsewhere, (...).

    Raises:
        ValueError: budgets that do not ascend, or not as many as the curve has.
    """
    logs = torch.tensor(budgets, dtype=torch.float64).log()
    if not budgets or len(budgets) != curve.shape[-1] or not (logs.isfinite().all() and (logs.diff() > 0).all()):
        raise ValueError(f"budgets {list(budgets)}: expected {curve.shape[-1]} ascending numbers of labels above 0")
    curve, target = monotone(curve).contiguous(), accuracy.double()[..., None] - _SAME
    after = torch.searchsorted(curve, target.contiguous())  # the first budget that reaches it
    side = (after == len(budgets)).int() - (after == 0).int()
    upper = after.clamp(1, len(budgets) - 1) if len(budgets) > 1 else torch.zeros_like(after)
    lower = (upper - 1).clamp(min=0)
    start, end = curve.gather(-1, lower), curve.gather(-1, upper)
    part = ((target - start) / (end - start)).nan_to_num().clamp(0, 1)
    part = torch.where(side > 0, 1.0, torch.where(side < 0, 0.0, part))
    return torch.lerp(logs[lower], logs[upper], part)[..., 0], side[..., 0]


def label_worth(
    scores: Tensor, labels: float, without: Tensor, budgets: Sequence[float], alpha: float = 0.05
) -> LabelWorth:
    """How many times the labels the accuracy of a pretrained network takes without pretraining.

    As for gains, the interval is of other seeds and other test samples, the latter by a jackknife over groups of them.
    Of accuracies, without the single answers, it is of other seeds alone, and too narrow where test samples are few.

    Args:
        scores: Right answers of S seeds with pretraining on n test samples, (S, n), or accuracies, (S,).
        labels: Number of labels they learned from.
        without: The same of the same seeds without pretraining, at B budgets, (S, B, n) or (S, B).
        budgets: Numbers of labels of these, ascending, B.
        alpha: Chance that the interval misses the mean.

    Raises:
        ValueError: no seed, other seeds without pretraining, or budgets that do not ascend.
    """
    seeds, by_sample = len(scores), scores.dim() > 1
    if not seeds or len(without) != seeds:
        raise ValueError(f"{seeds} seeds with pretraining and {len(without)} without: expected the same seeds")
    accuracy, curve = (part.double().mean(-1) if by_sample else part for part in (scores, without))
    needed, side = labels_needed(accuracy, curve, budgets)
    logs, above, below = needed - math.log(labels), int((side > 0).sum()), int((side < 0).sum())
    if by_sample:
        spread = crossed_variances(_pseudo_values(needed, scores, without, budgets))
    else:
        spread = crossed_variances(needed[:, None])._replace(v_samples=torch.zeros_like(logs[0]))
    half = crossed_half_width(spread, alpha)
    times, low, high = (float(value.exp()) for value in (logs.mean(), logs.mean() - half, logs.mean() + half))
    return LabelWorth(times, 0.0 if below else low, math.inf if above else high, seeds, above, below)


def _pseudo_values(needed: Tensor, scores: Tensor, without: Tensor, budgets: Sequence[float]) -> Tensor:
    """Log labels of each seed as if from each of G groups of test samples alone, (S, G) (jackknife, Tukey 1958).

    G times the value of all samples, (S,), less G - 1 times that without the group. Groups, since of one sample less
    what a curve made monotone reaches moves by jumps.
    """
    samples = scores.shape[-1]
    groups = min(_GROUPS, samples)
    kept = (torch.arange(samples)[:, None] % groups != torch.arange(groups)).double()  # (n, G)
    kept /= kept.sum(0)
    accuracy, curve = scores.double() @ kept, (without.double() @ kept).transpose(-1, -2)  # (S, G), (S, G, B)
    return groups * needed[:, None] - (groups - 1) * labels_needed(accuracy, curve, budgets)[0]
