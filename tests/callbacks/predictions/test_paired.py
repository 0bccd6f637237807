import pytest
import torch
from torch.nn import functional as F

from callbacks.predictions.paired import paired_finding
from zoo.functional.intervals import chance_difference, wilson
from zoo.tasks.base import Task, make_task


def one_hot(classes):
    return F.one_hot(torch.tensor(classes), 3).float()


def test_classes_are_compared_by_the_samples_on_which_they_differ():
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    own, other = [0, 1, 2, 0, 1, 2, 0, 1, 0, 1], [0, 1, 2, 0, 0, 0, 0, 0, 2, 2]
    task = make_task("classification", 3)
    found = paired_finding("mine", one_hot(own), {"theirs": (one_hot(other), True)}, labels, task, "on b")
    assert (found.value, found.samples, found.interval) == (0.8, 10, wilson(8, 10))
    baseline, frequent = found.references
    assert (frequent.title, frequent.value, frequent.baseline) == ("most frequent class", 0.4, False)
    # mine alone: 4, 5, 7; theirs alone: 8
    assert baseline.value == pytest.approx(0.6) and baseline.chance == chance_difference(3, 1, 10) and baseline.baseline
    assert (found.unit, found.note, found.metric, found.group) == ("percent", "on b", "score", "accuracy")


@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_other_scores_are_compared_by_resampled_differences(kind):
    torch.manual_seed(0)
    task = make_task(kind, 2)
    truth = torch.randn(300, 2) if kind == "regression" else (torch.rand(300, 2) < 0.4).float()
    good, bad, alike = (truth + spread * torch.randn(300, 2) for spread in (0.5, 1.5, 0.5))
    found = paired_finding("mine", good, {"bad": (bad, True), "alike": (alike, False)}, truth, task)
    metric = task.metrics()["score"]
    metric.update(good, truth if kind == "regression" else truth.long())
    assert found.value == pytest.approx(metric.compute().item(), abs=1e-5)
    assert found.interval[0] < found.value < found.interval[1] and found.note == task.score_name
    bad, alike = found.references
    assert found.value - bad.value > bad.chance > 0 and abs(found.value - alike.value) < alike.chance


def test_a_task_of_ones_own_has_its_score_without_chance():
    class Own(Task):
        score_name = "rank"

        def metrics(self):
            return make_task("regression", 1).metrics()

    truth = torch.arange(5.0).view(-1, 1)
    found = paired_finding("mine", truth, {"theirs": (truth.flip(0), True)}, truth, Own(1))
    assert found.value == 1 and found.interval is None and found.references[0].chance is None
