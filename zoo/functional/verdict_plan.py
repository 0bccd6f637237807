"""How many seeds or labelled test samples would tell whether pretraining pays, where those there are cannot."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.functional.crossed import crossed_half_width, forecast, no_spread
from zoo.functional.verdict import Estimate, estimate

MOST_SEEDS, MOST_SAMPLES = 100, 1_000_000  # more are out of reach


class WouldTell(NamedTuple):
    """What would tell; None for what needs no change. Both None: nothing within ``MOST_SEEDS`` and ``MOST_SAMPLES``."""

    seeds: int | None
    samples: int | None  # labelled test samples


def what_would_tell(difference: Tensor, worth: float = 1.0, alpha: float = 0.05) -> WouldTell:
    """The least that would tell, if the gain and its variances stay as they were found.

    More seeds with the same test samples, where up to ``MOST_SEEDS`` of them do; else more labelled test samples with
    the same seeds; else as many seeds as bring their part of the variance down to a half of what may be, and samples
    for the other half.

    Args:
        difference: One comparison that cannot tell, (S, n), at least two seeds and two samples.
        worth: The smallest gain worth having, in points.
        alpha: As of the verdict; divided by the number of comparisons where several are looked at together.

    Raises:
        ValueError: fewer than two seeds or test samples, which show no spread.
    """
    seeds, samples = difference.shape
    if min(seeds, samples) < 2:
        raise ValueError(f"expected at least 2 seeds and 2 test samples, but there are {seeds} and {samples}")
    found, endless = estimate(difference, alpha), torch.tensor(1e12)
    margin = abs(float(found.gain) - worth)
    if no_spread(found.spread):  # the rule of three, which knows no seeds
        most = math.log(2 / alpha) * (100 + abs(float(found.gain)))
        return WouldTell(None, _round_up(most / margin) if most < margin * MOST_SAMPLES else None)
    more = torch.arange(seeds + 1.0, MOST_SEEDS + 1)
    enough = _first(more, _half_width(found, more, found.spread.samples, alpha) < margin)
    if enough is not None:
        return WouldTell(enough, None)
    if (needed := _samples_needed(found, seeds, margin, alpha)) is not None:
        return WouldTell(None, needed)
    with_seeds = _first(more, _half_width(found, more, endless, alpha) < margin / math.sqrt(2))
    needed = with_seeds and _samples_needed(found, with_seeds, margin, alpha)
    return WouldTell(with_seeds, needed) if needed else WouldTell(None, None)


def _half_width(found: Estimate, seeds: Tensor, samples: Tensor, alpha: float) -> Tensor:
    return crossed_half_width(forecast(found.spread, seeds, samples), alpha)


def _samples_needed(found: Estimate, seeds: int, margin: float, alpha: float) -> int | None:
    fewest = min(float(found.spread.samples) + 1, MOST_SAMPLES)
    candidates = torch.logspace(math.log10(fewest), math.log10(MOST_SAMPLES), 500, dtype=torch.float64)
    enough = _first(candidates, _half_width(found, torch.tensor(float(seeds)), candidates, alpha) < margin)
    return None if enough is None else _round_up(enough)


def _first(candidates: Tensor, enough: Tensor) -> int | None:
    return math.ceil(candidates[enough][0]) if enough.any() else None


def _round_up(count: float) -> int:
    """To two digits: more would be more than such a forecast knows."""
    unit = 10 ** max(math.floor(math.log10(count)) - 1, 0)
    return math.ceil(count / unit) * unit
