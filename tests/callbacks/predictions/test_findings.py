import pytest
import torch
from scipy import stats
from sklearn.metrics import average_precision_score, r2_score

from callbacks.predictions.findings import prediction_findings


def test_accuracy_with_wilsons_interval_and_the_most_frequent_class():
    labels = torch.tensor([0] * 6 + [1] * 4)
    probabilities = torch.eye(2)[torch.tensor([0] * 5 + [1] * 5)]
    (found,) = prediction_findings(probabilities, labels, "classification")
    expected = stats.binomtest(9, 10).proportion_ci(method="wilson")
    assert found.value == 0.9 and found.samples == 10 and found.interval == pytest.approx((expected.low, expected.high))
    assert found.references[0].value == pytest.approx(0.6) and not found.baselines


def test_other_tasks_against_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(50, 2, generator=generator)
    values = truth + 0.5 * torch.randn(50, 2, generator=generator)
    (found,) = prediction_findings(values, truth, "regression")
    assert found.value == pytest.approx(r2_score(truth, values), abs=1e-5) and found.references[0].value == 0
    labels = (truth > 0).float()
    (found,) = prediction_findings(values.sigmoid(), labels, "multilabel")
    assert found.value == pytest.approx(average_precision_score(labels, values.sigmoid()), abs=1e-5)
    assert found.references[0].value == pytest.approx(labels.mean().item(), abs=0.05)


def test_a_task_of_ones_own_has_a_finding_only_if_its_labels_are_classes():
    assert prediction_findings(torch.rand(4, 3), torch.rand(4, 3), "my.Task") == []
    assert len(prediction_findings(torch.rand(4, 3), torch.zeros(4, dtype=torch.long), "my.Task")) == 1
