import math

import numpy as np
import pytest
import torch
from scipy import stats

from zoo.functional.distributions import (
    Discrete,
    Integer,
    LogNormal,
    Normal,
    OneHot,
    TruncatedNormal,
    Uniform,
    categorical,
)

INF = math.inf
U = torch.tensor([2.0**-54, 1e-9, 1e-4, 0.01, 0.3, 0.51, 0.9, 0.999, 1 - 1e-9], dtype=torch.float64)


@pytest.mark.parametrize(
    "distribution, reference",
    [
        (Uniform(-1, 3), stats.uniform(-1, 4)),
        (Normal(2, 3), stats.norm(2, 3)),
        (LogNormal(-1, 2), stats.lognorm(2, scale=math.exp(-1))),
        (TruncatedNormal(), stats.truncnorm(-2, 2)),
        (TruncatedNormal(5, 2, 4, 12), stats.truncnorm(-0.5, 3.5, 5, 2)),
        (TruncatedNormal(low=0, high=INF), stats.truncnorm(0, INF)),
        (TruncatedNormal(low=-INF, high=-6), stats.truncnorm(-INF, -6)),
        (TruncatedNormal(low=6, high=9), stats.truncnorm(6, 9)),
        (TruncatedNormal(low=-30, high=INF), stats.norm()),
        (TruncatedNormal(low=-INF, high=INF), stats.norm()),
        (Integer(-3, 4), stats.randint(-3, 5)),
        (categorical(7), stats.randint(0, 7)),
        (Discrete([1, 2, 5], [0.2, 0.5, 0.3]), stats.rv_discrete(values=([1, 2, 5], [0.2, 0.5, 0.3]))),
    ],
)
def test_quantiles_are_scipys_into_the_tails(distribution, reference):
    np.testing.assert_allclose(distribution.quantile(U), reference.ppf(U.numpy()), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(
    "mean, low, high, reference",
    [
        (0, 0, 1e-6, stats.uniform(0, 1e-6)),
        (1e3, 1e3, 1e3 + 1e-3, stats.uniform(1e3, 1e-3)),
        (0, 20, 21, stats.truncnorm(20, 21)),
        (0, -36, -35, stats.truncnorm(-36, -35)),
        (0, 30, INF, stats.truncnorm(30, INF)),
    ],
)
def test_truncated_normal_where_floats_are_coarse(mean, low, high, reference):
    """In the upper tail, where Phi is near 1, and in narrow intervals a careless inverse gives a handful of values."""
    u = torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)
    x = TruncatedNormal(mean, 1.0, low, high).quantile(u)
    assert (x.diff() > 0).all() and low <= x[0] and x[-1] <= high
    assert stats.kstest(x.numpy(), reference.cdf).statistic < 0.001


@pytest.mark.parametrize("low, high", [(-30, INF), (-INF, 30), (-7, INF), (-INF, INF), (-1, 40), (35, INF)])
def test_neither_end_of_the_uniform_numbers_jumps(low, high):
    """Rounded to 1, a probability would give infinity, or the bound far away."""
    ends = TruncatedNormal(low=low, high=high).quantile(torch.tensor([2.0**-54, 1 - 2.0**-53], dtype=torch.float64))
    inside = stats.norm.sf(low) - stats.norm.sf(high)  # shares above: those below round to 1
    first = stats.norm.ppf(stats.norm.cdf(low) + 2.0**-54 * inside) if low < 0 else low
    last = stats.norm.isf(stats.norm.sf(high) + 2.0**-53 * inside)
    np.testing.assert_allclose(ends, [first, last], rtol=1e-9)


@pytest.mark.parametrize("low, high", [(-1, 3), (-3, 1), (20, 22), (-22, -20)])
def test_a_mirrored_interval_has_mirrored_values(low, high):
    there, back = TruncatedNormal(low=low, high=high), TruncatedNormal(low=-high, high=-low)
    u = U[2:8]  # where 1 - u is exact enough
    torch.testing.assert_close(there.quantile(u), -back.quantile(1 - u), rtol=1e-9, atol=1e-12)
    assert there.moments().mean == pytest.approx(-back.moments().mean)
    assert there.moments().variance == pytest.approx(back.moments().variance)


def test_choices_change_at_the_sums_of_the_probabilities():
    below, above = torch.tensor([0.25, 0.75]).double() - 1e-12, torch.tensor([0.25, 0.75]).double() + 1e-12
    choice = Discrete([5, 7, 6], [0.25, 0.5, 0.25])
    assert choice.quantile(below).tolist() == [5, 7] and choice.quantile(above).tolist() == [7, 6]


def test_what_has_no_probability_never_comes():
    choice = Discrete([5, 6, 7, 8], [0, 0.5, 0.5, 0])
    ends = torch.tensor([0.0, 2.0**-54, 0.5, 1 - 2.0**-53], dtype=torch.float64)
    assert choice.quantile(ends).tolist() == [6, 6, 7, 7] and choice.moments().support == (6, 7)


@pytest.mark.parametrize("count", [2, 3, 10, 255, 256, 1000003])
def test_the_greatest_uniform_number_is_not_one_too_many(count):
    for u in (torch.tensor([1 - 2.0**-53], dtype=torch.float64), torch.tensor([1 - 2.0**-24])):
        assert Integer(0, count - 1).quantile(u).item() == count - 1


def test_one_hot_is_decided_by_the_first_number_along_dimension_1():
    u = torch.tensor([[0.1, 0.9, 0.9], [0.5, 0.0, 0.0], [0.9, 0.5, 0.5]])
    assert OneHot().quantile(u).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert OneHot(probabilities=[0.05, 0.9, 0.05]).quantile(u).tolist() == [[0, 1, 0]] * 3
