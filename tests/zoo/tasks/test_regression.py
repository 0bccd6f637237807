import pytest
import torch
from sklearn.metrics import r2_score

from zoo.tasks.regression import Regression


def test_r2_is_scikit_learns_and_not_a_number_for_one_sample():
    metrics = Regression(2).metrics()
    said, truth = torch.randn(2, 9, 2, generator=torch.Generator().manual_seed(0))
    metrics.update(said, truth)
    assert metrics.compute()["score"].item() == pytest.approx(r2_score(truth, said), rel=1e-5)
    metrics.reset()
    metrics.update(said[:1], truth[:1])
    found = metrics.compute()
    assert found["score"].isnan() and found["mae"].item() == pytest.approx((said[0] - truth[0]).abs().mean().item())
