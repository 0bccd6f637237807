import math

import pytest
import torch
from scipy import stats

from zoo.functional.crossed import crossed_half_width, crossed_variances, forecast, no_spread, student_quantile


def draw(*shape, of_seeds, of_samples, rest, seed=0):
    """Tables (..., S, n) of mean 0, with these standard deviations."""
    rng = torch.Generator().manual_seed(seed)
    parts = (*shape[:-1], 1), (*shape[:-2], 1, shape[-1]), shape
    sizes = of_seeds, of_samples, rest
    return sum(size * torch.randn(part, generator=rng).double() for size, part in zip(sizes, parts, strict=True))


def test_variances_and_the_interval_by_hand():
    """Means by seed 1/4, 1/2 and 0; by sample 2/3, 1/3, -1/3 and 1/3; all together 1/4."""
    table = [[1, 1, -1, 0], [1, 0, 0, 1], [0, 0, 0, 0]]
    found = crossed_variances(torch.tensor(table, dtype=torch.float64))
    by_seed, by_sample = (0.25, 0.5, 0.0), (2 / 3, 1 / 3, -1 / 3, 1 / 3)
    v_samples = sum((value - 0.25) ** 2 for value in by_sample) / 3
    residuals = [table[s][i] - by_seed[s] - by_sample[i] + 0.25 for s in range(3) for i in range(4)]
    v_rest = sum(r * r for r in residuals) / 6
    assert [float(v) for v in found] == pytest.approx([1 / 16, v_samples, v_rest, 3, 4])
    t_seeds, t_samples = stats.t.ppf(0.95, 2), stats.t.ppf(0.95, 3)
    own = max(v_samples - v_rest / 3, 0) / 4
    expected = max(t_seeds**2 / 16 / 3 + t_samples**2 * own, t_samples**2 * v_samples / 4) ** 0.5
    assert float(crossed_half_width(found, 0.1)) == pytest.approx(expected)


@pytest.mark.parametrize(("of_seeds", "of_samples", "rest"), [(1, 0, 0.5), (0, 1, 0.5), (1, 2, 0), (0.5, 1, 2)])
def test_components_are_unbiased_and_intervals_hold_the_mean(of_seeds, of_samples, rest):
    tables = draw(6000, 4, 12, of_seeds=of_seeds, of_samples=of_samples, rest=rest)
    found = crossed_variances(tables)
    assert float(found.v_rest.mean()) == pytest.approx(rest**2, rel=0.05)
    assert float(found.v_seeds.mean()) == pytest.approx(of_seeds**2 + rest**2 / 12, rel=0.08)
    assert float(found.v_samples.mean()) == pytest.approx(of_samples**2 + rest**2 / 4, rel=0.08)
    for alpha in (0.05, 0.05 / 6):
        outside = tables.mean((-2, -1)).abs() > crossed_half_width(found, alpha)
        assert float(outside.double().mean()) < alpha + 3 * math.sqrt(alpha / 6000)


def test_three_seeds_that_agree_by_chance_do_not_make_a_narrow_interval():
    """Samples add a twentieth of the variance: Satterthwaite's interval of 99.2 % misses three times as often."""
    tables, alpha = draw(20_000, 3, 200, of_seeds=0.12, of_samples=0.224, rest=0, seed=1), 0.05 / 6
    found = crossed_variances(tables)
    a, b = found.v_seeds / 3, found.v_samples / 200
    satterthwaite = student_quantile(alpha, (a + b) ** 2 / (a**2 / 2 + b**2 / 199)) * (a + b).sqrt()
    ours, theirs = (
        (tables.mean((-2, -1)).abs() > half).double().mean()
        for half in (crossed_half_width(found, alpha), satterthwaite)
    )
    assert float(ours) < alpha + 3 * math.sqrt(alpha / 20_000) and float(theirs) > 2 * alpha


@pytest.mark.parametrize("by", [0, 1], ids=["seeds", "samples"])
def test_where_only_one_of_both_has_spread_it_is_students_interval(by):
    values = torch.tensor([3.1, 1.2, 4.4, 2.7, 0.1, 5.0], dtype=torch.float64)
    table = values[:, None].expand(6, 40) if by == 0 else values.expand(40, 6)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert float(crossed_half_width(crossed_variances(table))) == pytest.approx((high - low) / 2)


def test_a_forecast_for_what_is_there_changes_nothing():
    found = crossed_variances(draw(5, 40, of_seeds=2, of_samples=6, rest=4))
    same = forecast(found, found.seeds, found.samples)
    assert [float(v) for v in same] == pytest.approx([float(v) for v in found])
    more = forecast(found, torch.tensor(10.0), torch.tensor(80.0))
    assert float(found.v_seeds - more.v_seeds) == pytest.approx(float(found.v_rest) * (1 / 40 - 1 / 80))
    assert float(found.v_samples - more.v_samples) == pytest.approx(float(found.v_rest) * (1 / 5 - 1 / 10))


def test_what_shows_no_spread():
    assert no_spread(crossed_variances(torch.full((3, 7), 1 / 3, dtype=torch.float64)))  # no exact mean in binary
    assert not no_spread(crossed_variances(torch.eye(3, 1000, dtype=torch.float64)))
    for shape in ((1, 50), (4, 1), (1, 1)):
        found = crossed_variances(torch.ones(shape, dtype=torch.float64))
        assert crossed_half_width(found) == math.inf and not no_spread(found)


def test_quantiles_are_scipys():
    df = torch.tensor([1, 2, 9, 999.0])
    for alpha in (1e-14, 0.05, 0.9):
        assert student_quantile(alpha, df).tolist() == pytest.approx(stats.t.isf(alpha / 2, df).tolist(), rel=1e-9)
