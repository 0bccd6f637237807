import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from zoo.functional.features import feature_spread, knn_correct, pca_features, probe_correct, rank_me


def accuracy(correct):
    return correct.float().mean().item()


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x).float(), torch.tensor(y)
    return x[:1000], y[:1000], x[1000:], y[1000:]


def test_neighbours_against_scikit_learn(digits):
    train, labels, test, truth = digits
    votes = KNeighborsClassifier(10, metric="cosine", weights=lambda d: np.exp(-d / 0.07), algorithm="brute")
    expected = votes.fit(train, labels).score(test, truth)
    assert accuracy(knn_correct(train, labels, test, truth, k=10)) == pytest.approx(expected, abs=2 / len(test))


def test_more_neighbours_than_samples_are_all_samples(digits):
    train, labels, test, truth = digits
    few = accuracy(knn_correct(train[:30], labels[:30], test, truth, k=1000))
    assert few == accuracy(knn_correct(train[:30], labels[:30], test, truth, k=30))


def test_probe_against_scikit_learn(digits):
    train, labels, test, truth = digits
    scale = StandardScaler().fit(train)
    # Ours: mean cross-entropy + l2 |w|^2. Theirs: C * sum of it + |w|^2 / 2.
    theirs = LogisticRegression(C=1 / (2 * 1e-3 * len(train)), max_iter=2000).fit(scale.transform(train), labels)
    expected = theirs.score(scale.transform(test), truth)
    assert accuracy(probe_correct(train, labels, test, truth, l2=1e-3)) == pytest.approx(expected, abs=0.01)


def test_a_feature_that_changes_only_in_the_test_set_does_no_harm(digits):
    train, labels, test, truth = digits
    plus = torch.cat([train, torch.zeros(len(train), 1)], 1), torch.cat([test, torch.ones(len(test), 1)], 1)
    assert accuracy(probe_correct(plus[0], labels, plus[1], truth)) == pytest.approx(
        accuracy(probe_correct(train, labels, test, truth)), abs=0.01
    )


def test_effective_rank():
    generator = torch.Generator().manual_seed(0)
    even = torch.linalg.qr(torch.randn(500, 8, generator=generator))[0]
    assert rank_me(even) == pytest.approx(8, rel=1e-4)
    assert rank_me(torch.ones(50, 8)) == pytest.approx(1, rel=1e-3)
    assert rank_me(torch.zeros(50, 8)) == pytest.approx(1)
    x = torch.randn(30, 40, generator=generator)  # wide: against the definition
    share = np.linalg.svd(x.double().numpy(), compute_uv=False)
    share /= share.sum()
    assert rank_me(x) == pytest.approx(math.exp(-(share * np.log(share)).sum()), rel=1e-5)


def test_spread():
    x = torch.randn(5000, 16, generator=torch.Generator().manual_seed(0))
    assert feature_spread(x) == pytest.approx(1, abs=0.02)
    assert feature_spread(torch.ones(10, 4)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("rows", [None, 40], ids=["many", "fewer rows than columns"])
def test_components_against_scikit_learn(digits, rows):
    train, _, test, _ = digits
    train = train[:rows]
    ours = pca_features(train, test, 10)
    theirs = PCA(10, svd_solver="full").fit(train.double())
    for x, y in zip(ours, (theirs.transform(train.double()), theirs.transform(test.double())), strict=True):
        torch.testing.assert_close(x.abs(), torch.tensor(y).abs().float(), atol=1e-2, rtol=1e-3)
