import math

import pytest
import torch
from scipy.stats import bootstrap as scipy_bootstrap

from zoo.functional.resampling import bootstrap, chance_of_differences, percentile_interval


def mean_of(values):
    return lambda weights: weights @ values / weights.sum(1)


def test_each_draw_has_as_many_samples_as_there_are():
    seen = []
    bootstrap(lambda weights: seen.append(weights) or weights[:, 0], 7, 50)
    weights = torch.cat(seen)
    assert weights.shape == (50, 7) and (weights.sum(1) == 7).all() and weights.unique(dim=0).shape[0] > 40


def test_the_interval_is_scipys():
    values = torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64).exp()
    low, high = percentile_interval(bootstrap(mean_of(values), 200, 4000))
    theirs = scipy_bootstrap((values.numpy(),), lambda x, axis: x.mean(axis), method="percentile", rng=0)
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval), rel=0.02)


def test_draws_are_the_same_whatever_fits_into_memory(monkeypatch):
    values = torch.arange(30, dtype=torch.float64)
    whole = bootstrap(mean_of(values), 30, 20)
    monkeypatch.setattr("zoo.functional.resampling._WEIGHTS_AT_ONCE", 90)
    torch.testing.assert_close(bootstrap(mean_of(values), 30, 20), whole)


def test_chance_is_the_spread_of_the_differences():
    """Of a mean of N paired differences: 1.96 standard errors."""
    values = torch.randn(400, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    drawn = bootstrap(mean_of(values), 400, 4000)
    expected = 1.96 * values.std().item() / math.sqrt(400)
    assert chance_of_differences(drawn, values.mean().item()) == pytest.approx(expected, rel=0.06)
    assert chance_of_differences(torch.cat([drawn, drawn.new_tensor([math.nan])]), values.mean().item()) > 0
