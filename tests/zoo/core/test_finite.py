import pytest
import torch

from zoo.core.finite import FiniteCheck, check_finite, first_not_finite


def test_the_first_bad_number_is_found():
    x = torch.zeros(4, 5)
    assert first_not_finite(x) == -1
    x[3, 0], x[2, 4] = float("nan"), float("-inf")
    assert first_not_finite(x) == 14


def test_a_bad_batch_is_refused_by_row_and_column():
    x = torch.zeros(4, 5)
    check_finite(x)
    x[2, 3] = float("nan")
    with pytest.raises(ValueError, match="row 2 of the batch, column 3, is NaN"):
        check_finite(x)


def test_the_first_of_several_batches_is_told_and_forgotten():
    check, good, bad = FiniteCheck(5), torch.zeros(4, 5), torch.full((4, 5), float("inf"))
    check.look(good, 0)
    with pytest.raises(ValueError, match="row 0, column 0 of training batch 7"):
        check.look(bad, 7)
    check.clear()
    check.check()
