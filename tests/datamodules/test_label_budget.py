import pytest
import torch

from datamodules.label_budget import stratified_split, subsample_labels

LABELS = torch.tensor([0] * 100 + [1] * 50 + [2] * 10)[torch.randperm(160, generator=torch.Generator().manual_seed(0))]


def test_parts_are_disjoint_complete_and_in_proportion():
    first, second = stratified_split(LABELS, 0.2, seed=0)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(160))
    assert LABELS[second].bincount().tolist() == [20, 10, 2]


def test_every_class_is_in_both_parts_if_it_can_be():
    first, second = stratified_split(torch.tensor([0, 0, 1, 1, 2]), 0.01, seed=0)
    labels = torch.tensor([0, 0, 1, 1, 2])
    assert labels[second].tolist() == [0, 1] and labels[first].unique().tolist() == [0, 1, 2]


def test_the_seed_decides():
    assert torch.equal(stratified_split(LABELS, 0.2, 1)[1], stratified_split(LABELS, 0.2, 1)[1])
    assert not torch.equal(stratified_split(LABELS, 0.2, 1)[1], stratified_split(LABELS, 0.2, 2)[1])


def test_budget_is_exact_and_the_rest_forgotten():
    kept = subsample_labels(LABELS, 7, seed=0)
    assert kept[kept >= 0].bincount().tolist() == [7, 7, 7] and (kept == -1).sum() == 160 - 21
    assert torch.equal(kept[kept >= 0], LABELS[kept >= 0])


def test_larger_budgets_contain_smaller_ones():
    small, large = (subsample_labels(LABELS, n, seed=4) >= 0 for n in (3, 9))
    assert (large | ~small).all()


@pytest.mark.parametrize("budget, says", [(11, "class 2 has only 10"), (0, "1 or more")])
def test_impossible_budgets_are_refused(budget, says):
    with pytest.raises(ValueError, match=says):
        subsample_labels(LABELS, budget, seed=0)
