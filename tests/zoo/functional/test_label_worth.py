import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.isotonic import IsotonicRegression

from zoo.functional.label_worth import LabelWorth, label_worth, labels_needed, monotone

BUDGETS = [10, 20, 40, 80]


def test_monotone_is_scikit_learns_isotonic_regression():
    curves = torch.rand(50, 2, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = [[IsotonicRegression().fit_transform(np.arange(7), curve) for curve in pair] for pair in curves.numpy()]
    assert np.allclose(monotone(curves), expected, atol=1e-12)


def test_monotone_by_hand():
    assert monotone(torch.tensor([0.5, 0.7, 0.6, 0.9])).tolist() == pytest.approx([0.5, 0.65, 0.65, 0.9])
    assert monotone(torch.tensor([0.9, 0.6, 0.3])).tolist() == pytest.approx([0.6, 0.6, 0.6])
    assert monotone(torch.tensor([0.4])).tolist() == pytest.approx([0.4])


def test_labels_needed_is_linear_in_log_labels():
    curve = torch.tensor([0.5, 0.6, 0.75, 0.8], dtype=torch.float64)
    accuracy = torch.linspace(0.501, 0.799, 40, dtype=torch.float64)
    found, side = labels_needed(accuracy, curve.expand(40, 4), BUDGETS)
    assert np.allclose(found, np.interp(accuracy, curve, np.log(BUDGETS)), atol=1e-6) and not side.any()


def test_ends_of_the_curve():
    curve = torch.tensor([0.5, 0.6, 0.7, 0.8])
    found, side = labels_needed(torch.tensor([0.3, 0.5, 0.8, 0.81]), curve.expand(4, 4), BUDGETS)
    assert found.exp().tolist() == pytest.approx([10, 10, 80, 80], rel=1e-6) and side.tolist() == [-1, -1, 0, 1]
    assert labels_needed(torch.tensor([0.4, 0.5, 0.6]), torch.full((3, 1), 0.5), [10])[1].tolist() == [-1, -1, 1]


def test_an_accuracy_of_the_curves_end_is_reached_whatever_the_rounding():
    right = torch.randint(1, 60, (500, 4), generator=torch.Generator().manual_seed(0)).sort(-1).values
    curve = right.double() / 60
    ends = [labels_needed(curve[:, place], curve, BUDGETS)[1] for place in (0, -1)]
    assert (ends[0] == -1).all() and not (ends[1] > 0).any()


def test_a_flat_piece_is_reached_at_its_beginning():
    curve = torch.tensor([0.5, 0.7, 0.7, 0.8])
    found, _ = labels_needed(torch.tensor([0.7, 0.701]), curve.expand(2, 4), BUDGETS)
    assert found.exp().tolist() == pytest.approx([20, 40 * 2**0.01], rel=1e-5)


def test_geometric_mean_and_students_interval():
    curve = torch.tensor([0.5, 0.6, 0.7, 0.8]).expand(3, 4)
    found = label_worth(torch.tensor([0.65, 0.7, 0.75]), 10, curve, BUDGETS)
    logs = np.log(np.array([20 * 2**0.5, 40, 40 * 2**0.5]) / 10)
    low, high = np.exp(stats.ttest_1samp(logs, 0).confidence_interval(0.95))
    assert found == pytest.approx(LabelWorth(4.0, low, high, 3, 0, 0), rel=1e-5)


def test_order_of_seeds_does_not_matter_and_twice_the_labels_are_worth_half():
    rng = torch.Generator().manual_seed(0)
    curve, accuracy = torch.rand(6, 4, generator=rng).sort(-1).values, 0.45 + 0.1 * torch.rand(6, generator=rng)
    found, order = label_worth(accuracy, 10, curve, BUDGETS), torch.randperm(6, generator=rng)
    assert label_worth(accuracy[order], 10, curve[order], BUDGETS) == pytest.approx(found)
    assert label_worth(accuracy, 20, curve, BUDGETS).times == pytest.approx(found.times / 2)


def test_without_pretraining_itself_is_worth_its_own_labels():
    curve = torch.tensor([[0.5, 0.6, 0.7, 0.8], [0.4, 0.65, 0.66, 0.9]])
    assert label_worth(curve[:, 1], 20, curve, BUDGETS) == pytest.approx(LabelWorth(1, 1, 1, 2, 0, 0), rel=1e-6)


def test_pretraining_that_hurts_is_worth_less_than_one():
    curve = torch.tensor([0.5, 0.6, 0.7, 0.8]).expand(3, 4)
    found = label_worth(torch.tensor([0.65, 0.7, 0.68]), 80, curve, BUDGETS)
    assert found.high < 1 and 0.3 < found.times < 0.6


def test_beyond_the_curve_intervals_are_open():
    curve = torch.tensor([0.5, 0.6, 0.7, 0.8]).expand(3, 4)
    every = label_worth(torch.tensor([0.9, 0.95, 0.85]), 10, curve, BUDGETS)
    assert every == pytest.approx(LabelWorth(8.0, 8.0, math.inf, 3, 3, 0))
    one = label_worth(torch.tensor([0.7, 0.95, 0.75]), 10, curve, BUDGETS)
    ending = label_worth(torch.tensor([0.7, 0.80, 0.75]), 10, curve, BUDGETS)  # the seed beyond counts with the end
    assert one.high == math.inf and one.above == 1 and (one.times, one.low) == pytest.approx(ending[:2], rel=1e-5)
    before = label_worth(torch.tensor([0.4, 0.45, 0.65]), 20, curve, BUDGETS)
    assert before.low == 0.0 and before.below == 2 and before.high < math.inf
    assert label_worth(torch.tensor([0.7]), 10, curve[:1], BUDGETS) == pytest.approx(
        LabelWorth(4.0, 0.0, math.inf, 1, 0, 0), rel=1e-6
    )


def test_the_interval_is_of_other_test_samples_too():
    """Samples that one network finds hard and another does not: the spread between seeds alone is too small."""
    rng, truth, trials, holds = torch.Generator().manual_seed(0), 2**1.6, 600, [0, 0]
    levels = torch.tensor([0.5, 0.6, 0.7, 0.8, 0.66])[:, None, None]  # the last with pretraining, at 10 labels
    shapes = {(100,): 0.8, (5, 1, 100): 0.1, (5, 10, 100): 0.1}  # of samples, of a sample with a network, of answers
    for _ in range(trials):
        hard = sum(share**0.5 * torch.randn(shape, generator=rng) for shape, share in shapes.items())
        right = (hard < torch.special.ndtri(levels)).double().transpose(0, 1)  # (S, B + 1, n)
        for place, scores in enumerate((right, right.mean(-1))):
            found = label_worth(scores[:, 4], 10, scores[:, :4], BUDGETS)
            holds[place] += found.low <= truth <= found.high
    least = 0.95 - 3 * math.sqrt(0.95 * 0.05 / trials)
    assert holds[1] / trials < least < holds[0] / trials


def test_right_answers_give_the_estimate_of_their_accuracies():
    rng = torch.Generator().manual_seed(0)
    right, without = torch.rand(4, 90, generator=rng) < 0.65, torch.rand(4, 4, 90, generator=rng)
    without = without < torch.tensor([0.5, 0.6, 0.7, 0.8])[:, None]
    found = label_worth(right, 10, without, BUDGETS)
    alone = label_worth(right.double().mean(-1), 10, without.double().mean(-1), BUDGETS)
    assert found.times == pytest.approx(alone.times)
    assert 1 < found.high / found.low < math.inf


@pytest.mark.parametrize("budgets", [[10, 20, 40], [10, 40, 20, 80], [10, 10, 20, 40], [0, 10, 20, 40]])
def test_budgets_that_do_not_ascend_are_refused(budgets):
    with pytest.raises(ValueError, match="expected 4 ascending numbers"):
        label_worth(torch.rand(3), 10, torch.rand(3, 4), budgets)


def test_other_seeds_are_refused():
    with pytest.raises(ValueError, match="the same seeds"):
        label_worth(torch.rand(3), 10, torch.rand(1, 4), BUDGETS)
