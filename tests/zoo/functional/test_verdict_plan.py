import math

import pytest
import torch
from scipy import stats

from zoo.functional.crossed import crossed_half_width, forecast
from zoo.functional.verdict import CANNOT_TELL, estimate, verdicts
from zoo.functional.verdict_plan import MOST_SAMPLES, WouldTell, what_would_tell


def mixture(seeds, samples, gain, of_seeds=0.0, of_samples=0.0, rest=0.0):
    """Differences with exactly these standard deviations, in points, and this gain."""
    rng = torch.Generator().manual_seed(0)
    a, b, e = (torch.randn(shape, generator=rng).double() for shape in ((seeds, 1), (1, samples), (seeds, samples)))
    e = e - e.mean(0) - e.mean(1, keepdim=True) + e.mean()
    parts = [(x - x.mean()) / x.std() * size for x, size in ((a, of_seeds), (b, of_samples))]
    e = e * rest / (e.square().sum() / ((seeds - 1) * (samples - 1))).sqrt()
    return (gain + parts[0] + parts[1] + e) / 100


def test_seeds_that_would_tell_are_students():
    """Samples without spread: the fewest S with t(S - 1) 3 / sqrt(S) below the distance from what is worth having."""
    d = mixture(4, 50, 2.5, of_seeds=3.0)
    assert verdicts(estimate(d)) == CANNOT_TELL
    expected = next(s for s in range(5, 100) if stats.t.ppf(0.975, s - 1) * 3 / math.sqrt(s) < 1.5)
    assert what_would_tell(d) == WouldTell(expected, None)
    assert what_would_tell(mixture(4, 50, 1 + 1.01 * stats.t.ppf(0.975, 4) * 3 / math.sqrt(5), of_seeds=3.0)).seeds == 5
    assert what_would_tell(2 * 0.01 - d) == WouldTell(expected, None)  # as far below
    assert what_would_tell(d, alpha=0.05 / 6).seeds > expected


def test_samples_that_would_tell_are_students_to_two_digits():
    d = mixture(5, 60, 3.0, of_samples=20.0)
    exact = next(n for n in range(61, 9999) if stats.t.ppf(0.975, n - 1) * 20 / math.sqrt(n) < 2.0)
    would = what_would_tell(d)
    assert would.seeds is None and exact <= would.samples <= exact * 1.13
    assert would.samples == float(f"{would.samples:.1e}")


def test_both_where_neither_alone_would_tell():
    d = mixture(3, 30, 1.8, of_seeds=2.0, of_samples=20.0, rest=4.0)
    spread, would = estimate(d).spread, what_would_tell(d)
    assert would.seeds > 3 and would.samples > 30
    for seeds, samples, enough in ((100, 30, False), (3, 10**9, False), (would.seeds, would.samples, True)):
        expected = forecast(spread, torch.tensor(float(seeds)), torch.tensor(float(samples)))
        assert (float(crossed_half_width(expected)) < 0.8) is enough


def test_a_forecast_comes_true():
    """Comparisons with as many seeds as it says tell, and with one fewer do not, where the components are the same."""
    rest = 64.0
    of_seeds, of_samples = 9 - rest / 400, 16 - rest / 16

    def comparison(seeds):
        by_seed, by_sample = math.sqrt(of_seeds + rest / 400), math.sqrt(of_samples + rest / seeds)
        return mixture(seeds, 400, 2.5, by_seed, by_sample, math.sqrt(rest))

    seeds = what_would_tell(comparison(4)).seeds
    assert [bool(verdicts(estimate(comparison(count))) != CANNOT_TELL) for count in (seeds, seeds - 1)] == [True, False]


def test_nothing_tells_a_gain_that_is_just_worth_it():
    assert what_would_tell(mixture(4, 50, 1.0, of_seeds=3.0, of_samples=9.0)) == WouldTell(None, None)
    assert what_would_tell(torch.full((3, 20), 0.01)) == WouldTell(None, None)


def test_where_nothing_differs_samples_tell():
    """The rule of three: 369 of them, by its formula, to tell a gain of 0 from 1 point."""
    would = what_would_tell(torch.zeros(3, 60))
    assert would == WouldTell(None, 370) and would.samples < MOST_SAMPLES
    assert [bool(verdicts(estimate(torch.zeros(3, n))) == CANNOT_TELL) for n in (368, 370)] == [True, False]


def test_a_single_seed_shows_no_spread():
    with pytest.raises(ValueError, match="at least 2 seeds"):
        what_would_tell(torch.rand(1, 50))
