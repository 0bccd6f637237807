import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from callbacks.samples.metrics import (
    class_kl,
    class_shares,
    diversity,
    effective_classes,
    fid,
    kid,
    memorised,
    nearest,
    precision_recall,
    scores,
)


def cloud(n, d=6, mean=0.0, scale=1.0, seed=0):
    return mean + scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_fid_is_the_closed_form_of_two_gaussians():
    mix = cloud(6, seed=2)
    a, b = cloud(300), cloud(200, mean=0.7, seed=1) @ mix
    found = fid(a, b)
    (m1, c1), (m2, c2) = ((x.double().numpy().mean(0), np.cov(x.double().numpy().T)) for x in (a, b))
    root = sqrtm(c1 @ c2)
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * root.real)
    assert found == pytest.approx(expected, rel=1e-5) and found > 1


def test_fid_of_a_shift_is_its_square_and_of_a_set_with_itself_nothing():
    a = cloud(300)
    assert fid(a, a + torch.tensor([3.0, 4, 0, 0, 0, 0])) == pytest.approx(25, rel=1e-4)
    assert fid(a, a) == pytest.approx(0, abs=1e-4)


def test_kid_is_the_unbiased_distance_by_the_cubic_kernel():
    a, b = cloud(40), cloud(40, mean=0.5, seed=1)
    x, y = a.double().numpy(), b.double().numpy()

    def kernel(p, q):
        return (p @ q.T / p.shape[1] + 1) ** 3

    n = len(x)
    within = sum((k.sum() - np.trace(k)) / (n * (n - 1)) for k in (kernel(x, x), kernel(y, y)))
    assert kid(a, b) == pytest.approx(within - 2 * kernel(x, y).mean(), rel=1e-5)


def test_kid_of_equal_distributions_is_about_nothing_whatever_the_numbers():
    torch.manual_seed(0)
    assert abs(kid(cloud(3000), cloud(500, seed=1))) < 0.02 < kid(cloud(3000), cloud(500, mean=0.3, seed=1))


def test_precision_and_recall_of_constructed_clouds():
    a = cloud(200)
    assert precision_recall(a, a.clone()) == (1.0, 1.0)
    assert precision_recall(a, a + 100) == (0.0, 0.0)
    one_image = a[:1].repeat(200, 1)
    assert precision_recall(a, one_image) == (1.0, pytest.approx(0.005, abs=0.006))
    half = torch.cat([a[:100], a[:100] + 100])  # the half of samples that is real covers about what it did
    precision, recall = precision_recall(a, half)
    assert precision == 0.5 and recall > 0.5


def test_recall_counts_the_balls_of_the_third_neighbour():
    real = torch.tensor([[0.0], [1], [2], [3], [4], [10]])
    fake = torch.tensor([[0.0], [1], [2], [3]])  # radii 3, 2, 2, 3: they cover -3 to 6
    assert precision_recall(real, fake)[1] == pytest.approx(5 / 6)


def test_diversity_is_a_ratio_of_variances():
    a = cloud(500)
    assert diversity(a, 0.5 * a + 3) == pytest.approx(0.25, rel=1e-5)
    assert diversity(a, a[:1].repeat(9, 1)) == 0


def test_class_kl_by_hand():
    fake, real = class_shares(torch.tensor([0, 0, 0, 1]), 3), class_shares(torch.tensor([0, 1, 1, 2]), 3)
    assert fake.tolist() == [0.75, 0.25, 0]
    assert class_kl(fake, real, 4) == pytest.approx(0.75 * math.log(3) + 0.25 * math.log(0.5))
    missing = class_shares(torch.tensor([0, 0, 0, 0]), 2)  # the data lack the second class: half of 4 images' share
    expected = 0.5 * math.log(0.5) + 0.5 * math.log(0.5 / 0.125)
    assert class_kl(torch.tensor([0.5, 0.5]).double(), missing, 4) == pytest.approx(expected)
    assert effective_classes(torch.tensor([0.25] * 4 + [0]).double()) == pytest.approx(4)


def test_copies_are_found_and_new_ones_are_at_the_chance_share():
    train, held, new = cloud(2000), cloud(1000, seed=1), cloud(1000, seed=2)
    beyond = nearest(train, held)[0]
    distance, which = nearest(train, train[700:1200])
    assert distance.max() == 0 and which.tolist() == list(range(700, 1200))
    assert memorised(distance, beyond) == 1
    assert memorised(nearest(train, new)[0], beyond) == pytest.approx(0.05, abs=0.02)
    assert memorised(nearest(train, new + 20)[0], beyond) == 0


def test_copies_are_found_among_data_with_duplicates():
    train = cloud(500)
    held = torch.cat([train[:100], cloud(100, seed=1)])
    assert memorised(nearest(train, train[200:300])[0], nearest(train, held)[0]) == 1


def test_all_scores_together():
    train = torch.cat([cloud(200), cloud(200, mean=8, seed=1)])[torch.randperm(400)]
    one_kind = cloud(100, seed=2)

    def classify(features):
        return (features.mean(1) > 4).long()

    found = scores(train, one_kind, classify)
    assert found["modes"] == 1 and found["spread"] == pytest.approx(0.5)
    assert found["class_kl"] == pytest.approx(math.log(2), rel=1e-6)
    assert found["precision"] > 0.8 and 0.3 < found["recall"] < 0.7 and found["diversity"] < 0.2
    assert set(scores(train, one_kind)) == {"fid", "kid", "precision", "recall", "diversity"}
