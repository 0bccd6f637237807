import math

import pytest
import torch
from scipy import stats

from zoo.functional.crossed import crossed_half_width, crossed_variances
from zoo.functional.verdict import (
    CANNOT_TELL,
    DOES_NOT_PAY,
    PAYS,
    as_good_as_best,
    estimate,
    family_verdicts,
    holm,
    looks,
    one_sided_p,
    verdicts,
)


def answers(*shape, seed=0):
    """Differences of right answers (..., S, n): a tenth lost, and won from none to a third by comparison."""
    rng = torch.Generator().manual_seed(seed)
    won = torch.rand(*shape[:-2], 1, 1, generator=rng) / 3
    return (torch.rand(shape, generator=rng) < won).to(torch.int8) - (torch.rand(shape, generator=rng) < 0.1).to(
        torch.int8
    )


@pytest.mark.parametrize("by", [0, 1], ids=["seeds", "samples"])
def test_where_only_one_of_both_has_spread_it_is_the_paired_t_test(by):
    values = torch.tensor([0.031, 0.012, 0.044, 0.027, 0.001, 0.05], dtype=torch.float64)
    found = estimate(values.unsqueeze(1 - by).expand(6, 40) if by == 0 else values.expand(40, 6))
    test = stats.ttest_1samp(100 * values.numpy(), 1.0)
    expected = test.confidence_interval(0.95)
    assert (float(found.low), float(found.high)) == pytest.approx((expected.low, expected.high), rel=1e-9)
    above, below = (
        stats.ttest_1samp(100 * values.numpy(), 1.0, alternative=side).pvalue for side in ("greater", "less")
    )
    assert [float(p) for p in one_sided_p(found, 1.0)] == pytest.approx([above, below], rel=1e-9)


def test_gains_are_in_points_with_the_interval_of_crossed_effects():
    d = answers(5, 80)
    found, spread = estimate(d, 0.1), crossed_variances(100 * d.double())
    assert float(found.gain) == pytest.approx(100 * int(d.sum()) / 400)
    assert float(found.high - found.gain) == pytest.approx(float(crossed_half_width(spread, 0.1)))
    assert float(found.gain - found.low) == pytest.approx(float(crossed_half_width(spread, 0.1)))


def test_a_p_value_is_half_the_alpha_whose_interval_ends_at_what_is_tested():
    found = estimate(answers(40, 4, 80))
    above, below = one_sided_p(found, 7.0)
    assert torch.allclose(above + below, torch.ones(40, dtype=torch.float64))
    for p, bound in ((above, "low"), (below, "high")):
        for one in range(40):
            if 1e-12 < p[one] < 0.5:
                ends = estimate(answers(40, 4, 80)[one], 2 * float(p[one]))
                assert float(getattr(ends, bound)) == pytest.approx(7.0, abs=1e-6)


def test_verdicts_are_what_the_interval_says():
    found = estimate(answers(500, 4, 80))
    said = verdicts(found, worth=5.0)
    assert set(said.tolist()) == {PAYS, CANNOT_TELL, DOES_NOT_PAY}
    assert torch.equal(said == PAYS, found.low > 5) and torch.equal(said == DOES_NOT_PAY, found.high < 5)


def test_exchanging_the_runs_flips_sign_and_verdict():
    d = answers(200, 4, 80)
    one, other = estimate(d), estimate(-d)
    assert torch.allclose(one.gain, -other.gain) and torch.allclose(one.low, -other.high)
    assert torch.equal(verdicts(one, 10.0), -verdicts(other, -10.0))
    assert torch.equal(family_verdicts(one, 10.0), -family_verdicts(other, -10.0))


def test_order_of_seeds_and_samples_and_of_other_comparisons_does_not_matter():
    d = answers(3, 2, 5, 30)
    found, moved = estimate(d), estimate(d[..., torch.randperm(5), :][..., torch.randperm(30)].double())
    for a, b in zip((*found[:3], *found.spread[:3]), (*moved[:3], *moved.spread[:3]), strict=True):
        assert torch.allclose(a, b) and a.dtype == torch.float64 and a.shape == (3, 2)
    assert float(estimate(d[2, 1]).low) == pytest.approx(float(found.low[2, 1]))


def test_no_spread_seen_is_not_no_spread():
    """None of 60 samples differs: up to 1 - 0.025^(1/60) of all may, by the exact binomial interval."""
    for n, worth, said in ((60, 1.0, CANNOT_TELL), (1000, 1.0, DOES_NOT_PAY)):
        found = estimate(torch.zeros(3, n))
        exact = 100 * stats.binomtest(0, n).proportion_ci(0.95, method="exact").high
        assert exact <= float(found.high) <= exact * 1.04 and float(found.low) == -float(found.high)
        assert verdicts(found, worth) == said
        edge = torch.tensor([float(found.high) * 0.999, float(found.high) * 1.001])
        assert [int(verdicts(found, float(at))) for at in edge] == [CANNOT_TELL, DOES_NOT_PAY]
    always = estimate(torch.ones(5, 40))  # one of two runs is always right, the other never
    most = 2 * stats.binomtest(0, 40).proportion_ci(0.95, method="exact").high  # of 1 and -1 as far apart
    assert 0.98 * (1 - most) < float(always.low) / 100 <= 1 - most and verdicts(always) == PAYS


@pytest.mark.parametrize("shape", [(1, 50), (4, 1), (1, 1)])
def test_a_single_seed_or_sample_has_no_interval(shape):
    found = estimate(torch.ones(shape))
    assert float(found.gain) == 100 and float(found.low) == -math.inf and float(found.high) == math.inf
    assert verdicts(found) == CANNOT_TELL and [float(p) for p in one_sided_p(found, 1.0)] == pytest.approx([0.5, 0.5])


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="needs seeds and test samples"):
        estimate(torch.zeros(0, 5))
    with pytest.raises(ValueError, match="not finite"):
        estimate(torch.tensor([[1.0, math.nan], [0.0, 1.0]]))


def holm_by_hand(p):
    """The rule as Holm wrote it: the least p-value at which each hypothesis would just be rejected."""
    order, adjusted, highest = sorted(range(len(p)), key=p.__getitem__), [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, (len(p) - rank) * p[place])
        adjusted[place] = min(1.0, highest)
    return adjusted


def test_holm():
    assert holm(torch.tensor([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    p = torch.rand(5, 3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) ** 3
    expected = torch.tensor([[holm_by_hand(row) for row in rows] for rows in p.tolist()], dtype=torch.float64)
    assert torch.allclose(holm(p), expected) and (holm(p) == 1).any()


def test_a_family_of_one_is_alone_and_a_larger_one_says_less():
    found = estimate(answers(300, 6, 4, 80))
    each = estimate(answers(300, 6, 4, 80)[:, :1])
    assert torch.equal(family_verdicts(each, 7.0), verdicts(each, 7.0))
    together, alone = family_verdicts(found, 7.0), verdicts(found, 7.0)
    assert ((together == alone) | (together == CANNOT_TELL)).all() and (together != alone).any()
    assert (together == PAYS).any() and (together == DOES_NOT_PAY).any()


def test_a_false_verdict_among_six_that_share_one_scratch_is_as_rare_as_one_alone():
    rng, trials = torch.Generator().manual_seed(0), 4000
    scratch, own = (torch.randn(trials, k, 5, 1, generator=rng, dtype=torch.float64) for k in (1, 6))
    found = estimate((0.01 + 0.01 * (own - scratch)).expand(-1, -1, -1, 30))
    most = 0.025 + 3 * math.sqrt(0.025 / trials)
    for verdict in (PAYS, DOES_NOT_PAY):
        rates = [float((judge(found, 1.0) == verdict).any(-1).double().mean()) for judge in (family_verdicts, verdicts)]
        assert rates[0] < most < rates[1]


def test_the_best_and_what_is_not_behind_it():
    rng = torch.Generator().manual_seed(0)
    right = torch.rand(4, 5, 2000, generator=rng) < torch.tensor([0.80, 0.60, 0.795, 0.5])[:, None, None]
    assert as_good_as_best(right).tolist() == [True, False, True, False]
    assert as_good_as_best(right[[1, 0, 3, 2]].to(torch.uint8)).tolist() == [False, True, False, True]
    assert as_good_as_best(right[[1, 1, 3]]).tolist() == [True, True, False]
    assert as_good_as_best(right[:1]).tolist() == [True]


def test_the_best_is_rarely_left_out():
    """Of six that are equally good; without an allowance for five others it would be left out more often."""
    rng, trials = torch.Generator().manual_seed(0), 2000
    scores = (0.01 * torch.randn(trials, 6, 5, 1, generator=rng, dtype=torch.float64)).expand(-1, -1, -1, 20)
    most = 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
    left_out = [float((~as_good_as_best(scores, alpha))[:, 0].double().mean()) for alpha in (0.05, 0.25)]
    assert 0.01 < left_out[0] < most < left_out[1]
    assert as_good_as_best(scores).any(-1).all()


def test_looks():
    assert [seeds for seeds, _ in looks(3, 12)] == [3, 5, 8, 12]
    assert [alpha for _, alpha in looks(3, 12)] == [0.0125] * 4
    assert looks(3, 4) == [(3, 0.025), (4, 0.025)] and looks(5, 5, 0.1) == [(5, 0.1)]
    for first, last in ((1, 5), (5, 3)):
        with pytest.raises(ValueError, match=f"seeds {first}..{last}"):
            looks(first, last)
