import random

import numpy as np
import pytest
from scipy import stats

from zoo.functional.intervals import (
    chance_difference,
    independent_difference,
    jackknife,
    mean_difference_interval,
    mean_interval,
    wilson,
)


@pytest.mark.parametrize(("right", "n"), [(0, 2), (2, 2), (1, 2), (342, 359), (0, 359), (359, 359), (86, 100)])
def test_wilson_is_scipys(right, n):
    expected = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_chance_difference_is_exceeded_by_chance_in_one_of_twenty():
    """Two classifiers equally good on samples that they have right independently of each other."""
    generator, n, exceeded, trials = random.Random(0), 300, 0, 4000
    for _ in range(trials):
        only_first = only_second = 0
        for _ in range(60):  # discordant samples
            only_first, only_second = (
                (only_first + 1, only_second) if generator.random() < 0.5 else (only_first, only_second + 1)
            )
        exceeded += abs(only_first - only_second) / n > chance_difference(only_first, only_second, n)
    assert 0.02 < exceeded / trials < 0.06


def test_pairs_tell_apart_what_unpaired_shares_do_not():
    """340 and 352 of 359 right: 12 samples that only the second has right are no chance."""
    difference = 12 / 359
    assert stats.binomtest(0, 12).pvalue < 0.001
    assert difference > chance_difference(0, 12, 359)
    assert difference > independent_difference(340 / 359, 359, 352 / 359, 359)
    assert chance_difference(0, 5, 359) < 5 / 359
    assert independent_difference(340 / 359, 359, 345 / 359, 359) > 5 / 359


def test_one_sample_is_always_chance():
    assert chance_difference(0, 0, 100) == 0.01


def test_mean_interval_is_students():
    values = [0.911, 0.886, 0.893, 0.902, 0.907]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((expected.low, expected.high))


def test_mean_difference_interval_is_welchs():
    first, second = [0.91, 0.93, 0.90, 0.95], [0.88, 0.89, 0.85]
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    assert mean_difference_interval(first, second) == pytest.approx((expected.low, expected.high))
    assert mean_difference_interval([1.0, 1.0], [0.5, 0.5]) == (0.5, 0.5)


def test_the_jackknife_of_a_mean_is_students_interval():
    values = [1.0, 4.0, 2.5, 7.0, 3.0]
    without = [(sum(values) - value) / 4 for value in values]
    assert jackknife(sum(values) / 5, without) == pytest.approx(mean_interval(values))


def test_the_jackknife_of_a_ratio_is_as_wide_as_many_samples_say():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        x = rng.exponential(2.0, 40)
        y = 3 * x + rng.normal(size=40)
        without = [(y.sum() - y[i]) / (x.sum() - x[i]) for i in range(40)]
        low, high = jackknife(y.sum() / x.sum(), without)
        inside += low <= 3 <= high
    assert 0.92 <= inside / 300 <= 0.985
