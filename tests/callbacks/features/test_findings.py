import pytest
import torch
from scipy import stats

from callbacks.features.findings import feature_findings, majority_reference, paired_reference, plain_findings
from zoo.core.findings import PERCENT, write


def right(pattern):
    return torch.tensor([c == "1" for c in pattern])


def test_a_reference_knows_which_difference_is_chance_on_these_samples():
    own, other = right("1" * 90 + "0" * 10), right("1" * 80 + "0" * 15 + "1" * 5)
    reference = paired_reference("raw inputs", own, other)
    assert reference.value == 0.85 and reference.baseline
    assert reference.chance == pytest.approx(stats.norm.ppf(0.975) * 15**0.5 / 100)  # 10 + 5 differ
    expected = stats.binomtest(85, 100).proportion_ci(method="wilson")
    assert reference.interval == pytest.approx((expected.low, expected.high))


def test_the_most_frequent_training_class_decides():
    labels, truth = torch.tensor([2, 2, 2, 0]), torch.tensor([2, 0, 0, 0])
    assert majority_reference(labels, truth).value == 0.25


def test_probe_and_neighbours_stand_beside_three_baselines():
    names = [f"{m}{r}" for m in ("probe", "knn") for r in ("", "_pixels", "_pca", "_untrained")]
    correct = {name: right("1" * (50 + i) + "0" * (50 - i)) for i, name in enumerate(names)}
    probe, knn = feature_findings(correct, torch.zeros(1295, dtype=torch.long), torch.zeros(100, dtype=torch.long), 16)
    assert (probe.value, knn.value, probe.unit, probe.samples) == (0.50, 0.54, PERCENT, 100)
    assert [r.title for r in probe.references][:3] == ["raw inputs", "PCA of the same size", "untrained network"]
    assert probe.baselines[0].value == 0.53 and not probe.references[3].baseline
    assert "1,295 labels" in probe.meaning and "16 features" in probe.meaning


def test_rank_and_spread_have_their_largest_values_beside_them():
    rank, spread = plain_findings({"rank_me": 15.6, "feature_std": 0.9}, torch.zeros(359, 16))
    assert (write(rank), rank.references[0].value, spread.references[0].value) == ("15.6", 16, 1)
