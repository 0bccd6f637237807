import math

import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import nn

from zoo.functional.gan import (
    LOSSES,
    ONE_PASS,
    GradientScale,
    gradient_penalty,
    gradient_ratio,
    inject_gradient,
    input_gradients,
    scale_gradient,
    sliced_distance,
    zero_centred_penalty,
)

REAL, FAKE = [2.0, -1.0, 0.5], [-0.5, 3.0, 0.0]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def mean(values):
    return sum(values) / len(values)


# What each loss is, one number at a time, in the papers' own terms.
FORMULAS = {
    "non_saturating": (
        lambda r, f: -math.log(sigmoid(r)) - math.log(1 - sigmoid(f)),
        lambda r, f: -math.log(sigmoid(f)),
    ),
    "minimax": (
        lambda r, f: -math.log(sigmoid(r)) - math.log(1 - sigmoid(f)),
        lambda r, f: math.log(1 - sigmoid(f)),
    ),
    "least_squares": (lambda r, f: 0.5 * (r - 1) ** 2 + 0.5 * f**2, lambda r, f: 0.5 * (f - 1) ** 2),
    "hinge": (lambda r, f: max(0, 1 - r) + max(0, 1 + f), lambda r, f: -f),
    "wasserstein": (lambda r, f: f - r, lambda r, f: -f),
    "relativistic": (lambda r, f: -math.log(sigmoid(r - f)), lambda r, f: -math.log(sigmoid(f - r))),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_the_papers_formulas(name):
    real, fake = torch.tensor(REAL, dtype=torch.double), torch.tensor(FAKE, dtype=torch.double)
    for loss, formula in zip(LOSSES[name], FORMULAS[name], strict=True):
        assert loss(real, fake).item() == pytest.approx(mean([formula(*p) for p in zip(REAL, FAKE, strict=True)]))


def test_sure_critics_give_finite_losses():
    real, fake = torch.tensor([200.0]), torch.tensor([-200.0])
    for losses in LOSSES.values():
        assert all(loss(real, fake).isfinite() for loss in losses)


@pytest.mark.parametrize("name", LOSSES)
def test_one_backward_pass_gives_both_networks_their_gradients(name):
    """Turned round, or for objectives with flat places through a constant pull, against each loss by itself."""
    torch.manual_seed(0)
    generator, critic = (nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, n)).double() for n in (6, 1))
    z, real = torch.randn(5, 6, dtype=torch.double), torch.randn(5, 6, dtype=torch.double)
    losses = LOSSES[name]
    fake = generator(z)
    logits = critic(torch.cat([real, fake])).squeeze(1)
    truth = [
        *torch.autograd.grad(losses.critic(*logits.chunk(2)), [*critic.parameters()], retain_graph=True),
        *torch.autograd.grad(losses.generator(*logits.chunk(2)), [*generator.parameters()]),
    ]
    fake, factor = generator(z), GradientScale()
    if name in ONE_PASS:
        real_logits, fake_logits = critic(torch.cat([real, scale_gradient(fake, factor)])).squeeze(1).chunk(2)
        loss = losses.critic(real_logits, fake_logits)
        factor.value = gradient_ratio(loss, losses.generator(real_logits, fake_logits), fake_logits)
    else:
        seen = fake.detach().requires_grad_()
        real_logits, fake_logits = critic(torch.cat([real, fake.detach()])).squeeze(1).chunk(2)
        again = losses.generator(real_logits.detach(), critic(seen).squeeze(1))
        loss = losses.critic(real_logits, fake_logits) + inject_gradient(fake, *torch.autograd.grad(again, seen))
    loss.backward()
    for mine, theirs in zip([*critic.parameters(), *generator.parameters()], truth, strict=True):
        torch.testing.assert_close(mine.grad, theirs)


def test_a_ratio_where_the_critic_is_sure():
    """-exp(-logit) for the non-saturating loss, however low the logit."""
    logits = torch.tensor([-30.0, -5.0, 0.0, 5.0], requires_grad=True)
    losses = LOSSES["non_saturating"]
    real = torch.zeros(4)
    ratio = gradient_ratio(losses.critic(real, logits), losses.generator(real, logits), logits)
    torch.testing.assert_close(ratio, -torch.exp(-logits.detach()))


def test_penalties_of_a_quadratic_critic():
    """Of a . x + |x|^2 / 2 the slope is a + x."""
    a = torch.randn(3, 2, 2, dtype=torch.double, requires_grad=True)
    x, y = torch.randn(4, 3, 2, 2, dtype=torch.double), torch.randn(4, 3, 2, 2, dtype=torch.double)

    def critic(x):
        return ((a * x).sum((1, 2, 3)) + x.square().sum((1, 2, 3)) / 2).double()

    logits, slopes = input_gradients(critic, x)
    torch.testing.assert_close(logits, critic(x))
    torch.testing.assert_close(slopes, a + x)
    penalty = zero_centred_penalty(slopes)
    assert penalty.item() == pytest.approx((a + x).square().sum().item() / 4 / 2, rel=1e-6)
    (grad,) = torch.autograd.grad(penalty, a)
    torch.testing.assert_close(grad, (a + x).mean(0).detach(), rtol=1e-6, atol=1e-6)
    weight = torch.tensor([0.0, 1.0, 0.25, 0.5], dtype=torch.double)
    mixed = y + weight.view(-1, 1, 1, 1) * (x - y)
    lengths = (a + mixed).flatten(1).norm(dim=1)
    assert gradient_penalty(critic, x, y, weight).item() == pytest.approx(
        (lengths - 1).square().mean().item(), rel=1e-5
    )


def test_sliced_distance_is_wassersteins_in_one_dimension():
    x, y = torch.randn(50, 1, dtype=torch.double), 2 + torch.randn(50, 1, dtype=torch.double)
    direction = torch.ones(1, 1, dtype=torch.double)
    shifted = sliced_distance(x, x.flip(0) + 3, direction)
    assert shifted.item() == pytest.approx(3)  # every point moves by 3, whatever the order
    assert sliced_distance(x, y, direction) >= wasserstein_distance(x[:, 0], y[:, 0]) - 1e-12  # of power 1, never more
    assert sliced_distance(x, x.flip(0), direction) == 0
