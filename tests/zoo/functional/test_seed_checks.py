import pytest
import torch

from zoo.functional.seed_checks import far_seeds, label_overlap, seed_warnings


def test_failed_runs_are_far_from_the_others():
    scores = torch.tensor([0.80, 0.82, 0.10, 0.81, 0.11])
    assert far_seeds(scores).tolist() == [False, False, True, False, True]
    assert far_seeds(scores[torch.tensor([2, 0, 1])]).tolist() == [True, False, False]
    assert not far_seeds(torch.tensor([0.1, 0.9])).any()  # which of two?


@pytest.mark.parametrize("seeds", [3, 4, 5, 8, 12])
def test_healthy_runs_rarely_are(seeds):
    """With a standard deviation of 3 points in one comparison of a hundred, at most; of 1 point never."""
    scores = 0.8 + 0.03 * torch.randn(20_000, seeds, generator=torch.Generator().manual_seed(0))
    assert float(far_seeds(scores).any(-1).double().mean()) < 0.01
    assert not far_seeds(0.8 + (scores - 0.8) / 3).any()


def test_runs_that_all_differ_much_are_not_far():
    assert not far_seeds(torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9])).any()


def test_overlap_is_of_the_smaller_set():
    found = label_overlap([torch.tensor([7, 3, 5]), torch.tensor([3, 5, 100, 2]), torch.tensor([1])])
    assert found.flatten().tolist() == pytest.approx([1, 2 / 3, 0, 2 / 3, 1, 0, 0, 0, 1])
    assert label_overlap([torch.tensor([4, 4]), torch.tensor([4])]).tolist() == [[1, 1], [1, 1]]


def test_warnings():
    scores = {"from scratch": torch.tensor([0.6, 0.61, 0.62]), "`som`": torch.tensor([0.7, 0.1, 0.72])}
    apart = [torch.arange(start, start + 10) for start in (0, 8, 16)]  # a fifth in common
    assert seed_warnings({"from scratch": scores["from scratch"]}, apart, samples=100) == []
    (far,) = seed_warnings(scores, names=[4, 5, 6])
    assert far == "`som`: seed 5 has 10.0 %, far from the median of 70.0 %: did its run fail?"
    (shared,) = seed_warnings({}, [torch.arange(10), torch.arange(7, 17)])
    assert shared.startswith("Seeds have up to 30 % of their labels in common")
    assert seed_warnings({}, [torch.arange(10)]) == []


def test_too_few_errors_are_named():
    """97.5 % of 200 are 5 errors, which are enough."""
    scores = {"from scratch": torch.tensor([0.97, 0.98], dtype=torch.float64)}
    assert seed_warnings(scores, samples=200) == seed_warnings(scores) == []
    (few,) = seed_warnings(scores, samples=60)
    assert few.startswith("from scratch: 1.5 of 60 test samples are wrong on average. Of fewer than 5 ")
    (few,) = seed_warnings({"from scratch": 1 - scores["from scratch"]}, samples=60)
    assert few.startswith("from scratch: 1.5 of 60 test samples are right")
