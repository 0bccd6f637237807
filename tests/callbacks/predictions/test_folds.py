import torch

from callbacks.predictions.folds import repeated_folds

CLASSES = torch.tensor([0] * 10 + [1] * 10 + [-1] * 5)


def counts(division, labels):
    return [labels[fold].bincount(minlength=2).tolist() for fold in division]


def test_each_labelled_sample_is_held_out_once_in_each_division_and_classes_evenly():
    divisions, note = repeated_folds(CLASSES, 5, 3)
    assert len(divisions) == 3 and note == ""
    for division in divisions:
        assert torch.cat(division).sort().values.tolist() == list(range(20))
        assert counts(division, CLASSES) == [[2, 2]] * 5
    assert not torch.equal(divisions[0][0], divisions[1][0])
    assert all(torch.equal(a, b) for a, b in zip(divisions[2], repeated_folds(CLASSES, 5, 3)[0][2], strict=True))


def test_classes_of_one_and_two_labels_are_said():
    labels = torch.tensor([0] * 6 + [1] * 2 + [2])
    divisions, note = repeated_folds(labels, 5, 2, names=["ant", "bee", "wasp"])
    assert note == (
        "classes with a single label train but are not judged: wasp; "
        "classes with two labels are judged by modules that saw one of them: bee"
    )
    for division in divisions:
        assert len(division) == 5 and torch.cat(division).sort().values.tolist() == list(range(8))
        assert max(int((labels[fold] == 1).sum()) for fold in division) == 1


def test_no_more_folds_than_the_largest_class_has_labels():
    divisions, _ = repeated_folds(torch.tensor([0, 0, 1, 1]), 5, 1)
    assert [fold.tolist() for fold in divisions[0]] and len(divisions[0]) == 2


def test_what_cannot_be_divided_is_said():
    for labels in ([0, 1], [0, 0, 0, 1], [0, 0, 0], [-1, -1]):
        divisions, note = repeated_folds(torch.tensor(labels), 5, 2)
        assert divisions == [] and "two labels of two classes each are needed" in note
    assert repeated_folds(torch.tensor([[1.0], [torch.nan]]), 5, 2) == ([], "a single label cannot be cross-validated")


def test_values_and_several_classes_are_not_stratified():
    labels = torch.rand(23, 2)
    labels[20:] = torch.nan
    divisions, note = repeated_folds(labels, 5, 2)
    assert note == "" and [len(fold) for fold in divisions[0]] == [4] * 5
    assert torch.cat(divisions[1]).sort().values.tolist() == list(range(20))
