import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch import nn
from torch.nn import functional as F

from zoo.functional.adapt import (
    aligned,
    certainty_weight,
    conditioned,
    coral_loss,
    domain_loss,
    pseudo_label_loss,
    ramp,
    random_convolution,
    reverse_gradient,
    strong_view,
    warm_up,
)

G = torch.Generator().manual_seed(0)
SOURCE, TARGET = torch.randn(8, 5, generator=G), 2 * torch.randn(8, 5, generator=G) + 1


def test_reversal_leaves_values_and_turns_gradients():
    x = SOURCE.clone().requires_grad_()
    y = reverse_gradient(x, 0.3)
    assert torch.equal(y, x)
    (gradient,) = torch.autograd.grad((y**2).sum(), x)
    torch.testing.assert_close(gradient, -0.3 * 2 * x)


def test_schedules():
    assert ramp(0) == 0 and ramp(1) == pytest.approx(math.tanh(5)) and ramp(0.3) == pytest.approx(math.tanh(1.5))
    assert [round(warm_up(p), 6) for p in (0, 0.25, 0.5, 1)] == [0, 0.5, 1, 1]


def test_domain_loss_is_the_mean_of_both_halves():
    logits = torch.tensor([2.0, -1.0, 0.5, 3.0]).double()
    p = logits.sigmoid()
    each = -torch.cat([p[:2].log(), (1 - p[2:]).log()])
    torch.testing.assert_close(domain_loss(logits), each.mean())
    weight = torch.tensor([1.0, 3.0, 2.0, 2.0]).double()
    expected = ((each[0] + 3 * each[1]) / 4 + each[2:].mean()) / 2
    torch.testing.assert_close(domain_loss(logits, weight), expected)
    assert domain_loss(torch.zeros(6)) == pytest.approx(math.log(2))


def test_conditioning_is_the_outer_product_of_each_sample():
    p = TARGET[:, :3].softmax(1)
    expected = torch.stack([torch.outer(a, b).flatten() for a, b in zip(p, SOURCE, strict=True)])
    torch.testing.assert_close(conditioned(SOURCE, p), expected)


def test_the_sure_count_double():
    p = torch.tensor([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0]])
    torch.testing.assert_close(certainty_weight(p), torch.tensor([2.0, 4 / 3, 1.5]))


def test_coral_against_numpy():
    difference = np.cov(SOURCE.double().T) - np.cov(TARGET.double().T)
    assert coral_loss(SOURCE, TARGET).item() == pytest.approx((difference**2).sum() / (4 * 25), rel=1e-5)
    assert coral_loss(SOURCE, SOURCE + 3).item() == pytest.approx(0, abs=1e-7)


def test_alignment_gives_the_source_frequencies_at_first_order():
    source = torch.tensor([[0.8, 0.2]]).expand(100, 2)
    target = torch.tensor([[0.5, 0.5], [0.3, 0.7]])
    found = aligned(target, source)
    scaled = target * torch.tensor([0.8 / 0.4, 0.2 / 0.6])
    torch.testing.assert_close(found, scaled / scaled.sum(1, keepdim=True))
    same = torch.tensor([[0.8, 0.2], [0.8, 0.2]])
    torch.testing.assert_close(aligned(same, source), same)


def test_only_the_sure_are_learned_from():
    weak = torch.tensor([[9.0, 0.0], [0.0, 9.0], [0.1, 0.0]])
    source = torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    strong = torch.randn(3, 2, generator=G).double().requires_grad_()
    loss = pseudo_label_loss(strong, weak, source, 0.9)
    expected = (F.cross_entropy(strong[:2], torch.tensor([0, 1]), reduction="sum")) / 3
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss, strong)
    assert (gradient[2] == 0).all() and (gradient[:2] != 0).all()


class Chance:
    """What ``random_convolution`` draws, in its order."""

    def __init__(self, count, channels, reach, seed):
        g = torch.Generator().manual_seed(seed)
        self.size = torch.randint(reach + 1, (count, 1, 1, 1, 1), generator=g)
        side = 2 * reach + 1
        self.filters = torch.randn(count, channels, channels, side, side, generator=g)
        self.share = torch.rand(count, 1, 1, 1, generator=g)


def test_random_convolution_is_a_filter_of_its_own_for_each_picture():
    x = torch.rand(5, 3, 16, 24, generator=G)
    found = random_convolution(x, torch.Generator().manual_seed(3))
    drawn = Chance(5, 3, 2, seed=3)
    assert len(drawn.size.unique()) > 1
    for i in range(5):
        picture, n = x[i].double().numpy(), int(drawn.size[i])
        filters = drawn.filters[i].double().numpy()[:, :, 2 - n : 3 + n, 2 - n : 3 + n]
        planes = [sum(correlate(picture[c], f[c], mode="nearest") for c in range(3)) for f in filters]
        filtered = np.stack(planes)
        filtered = (filtered - filtered.mean()) / filtered.std(ddof=1) * picture.std(ddof=1) + picture.mean()
        expected = picture + float(drawn.share[i]) * (filtered - picture)
        np.testing.assert_allclose(found[i].numpy(), expected, atol=1e-5)


def test_random_convolution_keeps_means_and_flat_pictures():
    x = torch.rand(6, 1, 28, 28, generator=G) + torch.arange(6).view(6, 1, 1, 1)
    torch.testing.assert_close(random_convolution(x).mean((1, 2, 3)), x.mean((1, 2, 3)), rtol=1e-4, atol=1e-4)
    flat = torch.full((2, 3, 8, 8), 0.7)
    torch.testing.assert_close(random_convolution(flat), flat)


def test_strong_views_are_other_pictures_of_the_same_shapes_moved():
    x = torch.full((400, 1, 8, 8), 0.2)
    x[:, :, 4, 4] = 1.0
    y = strong_view(x, torch.Generator().manual_seed(0))
    assert (y != x).flatten(1).any(1).float().mean() > 0.9 and y.isfinite().all()
    background = y.flatten(1).median(1, keepdim=True).values
    places = (y.flatten(1) - background).abs().argmax(1)  # of the point, up to 1 pixel and the filter's 1 away
    assert set((places // 8).tolist()) <= {2, 3, 4, 5, 6} and len(places.unique()) >= 9


def test_a_critic_and_features_pull_in_opposite_directions():
    torch.manual_seed(0)
    features, critic = nn.Linear(5, 4), nn.Linear(4, 1)
    x = torch.cat([SOURCE, TARGET])

    def gradients(wrap):
        loss = domain_loss(critic(wrap(features(x))).squeeze(1))
        return torch.autograd.grad(loss, (features.weight, critic.weight))

    (a, b), (c, d) = gradients(lambda f: f), gradients(reverse_gradient)
    torch.testing.assert_close((c, d), (-a, b))
