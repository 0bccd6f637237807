import pytest
import torch
from scipy.stats import binomtest

from callbacks.samples.judge import blindness, without_sight


def judged(right, n, classes=2):
    """An extractor that has the first ``right`` of ``n`` images right, classes in turn."""
    labels = torch.arange(n) % classes
    predicted = torch.where(torch.arange(n) < right, labels, (labels + 1) % classes)
    return blindness(predicted, labels)


def test_sixty_per_cent_of_two_classes_is_blind():
    reason = judged(91, 153)
    assert "59.5% of 153 held-out labelled images" in reason and "62.7% are needed" in reason


@pytest.mark.parametrize(
    "right, n, classes, blind",
    [(140, 153, 2, False), (5200, 10000, 2, True), (2, 2, 2, True), (16, 16, 2, False), (600, 1000, 10, False),
     (15, 100, 10, True), (100, 1000, 10, True), (860, 1000, 10, False)],
)  # fmt: skip
def test_clearly_better_than_chance(right, n, classes, blind):
    assert (judged(right, n, classes) is not None) == blind


def test_the_bound_is_that_of_an_exact_test_up_to_one_image():
    for n in (50, 153, 359):
        least = next(right for right in range(n + 1) if judged(right, n) is None)
        chance = -(-n // 2) / n
        needed = chance + 0.25 * (1 - chance)
        exact = next(r for r in range(n + 1) if binomtest(r, n, needed, alternative="greater").pvalue < 0.05)
        assert abs(least - exact) <= 1


def test_always_the_most_frequent_class_is_blind():
    labels = torch.tensor([0] * 95 + [1] * 5)
    assert "95.0%" in blindness(torch.zeros(100, dtype=torch.long), labels)


def test_unlabelled_images_check_nothing():
    labels = torch.full((50,), -1)
    assert "no held-out image has a label" in blindness(torch.zeros(50, dtype=torch.long), labels)
    labels[:40] = torch.arange(40) % 2
    assert blindness(labels.clone(), labels) is None


def test_what_copies_and_single_images_show_is_kept():
    found = {"fid": 1.0, "fid_real": 0.1, "precision": 1.0, "modes": 2.0, "spread": 1.0, "diversity": 1.0,
             "memorised": 0.05}  # fmt: skip
    assert without_sight(found) == {"diversity": 1.0, "memorised": 0.05}
