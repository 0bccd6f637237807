import math
from functools import partial

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from zoo.functional.autoencoder import (
    _BernoulliNLL,
    bernoulli_nll,
    contractive_penalty,
    corrupt,
    gaussian_kl,
    gaussian_log_density,
    gaussian_nll,
    log_mean_exp,
    random_window,
    reparameterise,
    sparsity_kl,
    standard_log_density,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_bernoulli_against_torchs_distribution():
    logits, x = normal(5, 3, 4), (normal(5, 3, 4, seed=1) > 0).float()
    expected = -Independent(Bernoulli(logits=logits.double()), 2).log_prob(x.double())
    torch.testing.assert_close(bernoulli_nll(logits, x), expected.float())


def test_bernoulli_gradients_against_finite_differences_and_far_logits_stay_finite():
    both = normal(3, 2, 4).double().requires_grad_(), normal(3, 1, 4, seed=1).sigmoid().double().requires_grad_()
    assert torch.autograd.gradcheck(_BernoulliNLL.apply, both) and torch.autograd.gradgradcheck(
        _BernoulliNLL.apply, both
    )
    far = torch.tensor([[-1e4, 1e4, -90.0, 90.0]], requires_grad=True)
    value = bernoulli_nll(far, torch.tensor([[0.0, 1.0, 1.0, 0.0]]))
    value.sum().backward()
    assert value.item() == pytest.approx(180, abs=1e-3) and far.grad.tolist() == [[0, 0, -1, 1]]


@pytest.mark.parametrize("nll", [bernoulli_nll, partial(gaussian_nll, std=0.3)])
def test_several_guesses_a_sample_are_as_if_the_sample_were_repeated(nll):
    guesses, x = normal(6, 2, 2), normal(3, 2, 2, seed=1).sigmoid()
    torch.testing.assert_close(nll(guesses, x), nll(guesses, x.repeat_interleave(2, 0)))


def test_gaussian_against_torchs_distribution():
    mean, x = normal(5, 3, 4), normal(5, 3, 4, seed=1)
    expected = -Independent(Normal(mean.double(), 0.3), 2).log_prob(x.double())
    torch.testing.assert_close(gaussian_nll(mean, x, 0.3), expected.float())


def test_divergence_against_torchs_and_zero_at_the_prior():
    mean, log_variance = normal(6, 4), normal(6, 4, seed=1)
    posterior = Normal(mean.double(), (0.5 * log_variance.double()).exp())
    expected = kl_divergence(posterior, Normal(torch.zeros(()).double(), torch.ones(()).double())).sum(1)
    torch.testing.assert_close(gaussian_kl(mean, log_variance), expected.float())
    assert gaussian_kl(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0, 0]


def test_half_precision_is_summed_in_single():
    x = torch.rand(2, 3000).bfloat16()
    for value in (bernoulli_nll(x, x), gaussian_nll(x, x, 0.1), gaussian_kl(x, x)):
        assert value.dtype == torch.float32
    torch.testing.assert_close(bernoulli_nll(x, x), bernoulli_nll(x.float(), x.float()))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(bernoulli_nll(x, x), bernoulli_nll(x.float(), x.float()))


def test_reparameterised_samples_have_the_moments_and_the_gradients():
    mean = torch.full((200_000, 1), 1.5, requires_grad=True)
    log_variance = torch.full((200_000, 1), math.log(4.0), requires_grad=True)
    z = reparameterise(mean, log_variance, torch.Generator().manual_seed(0))
    assert abs(z.mean().item() - 1.5) < 0.02 and abs(z.std().item() - 2.0) < 0.02
    z.square().mean().backward()  # E z^2 = m^2 + e^v: derivatives 2m and e^v
    assert abs(mean.grad.sum().item() - 3.0) < 0.05 and abs(log_variance.grad.sum().item() - 4.0) < 0.08


def test_the_generator_decides():
    first, second = (
        reparameterise(torch.zeros(3, 2), torch.zeros(3, 2), torch.Generator().manual_seed(1)) for _ in "ab"
    )
    assert torch.equal(first, second)


def test_corruptions_do_what_they_say():
    x = torch.full((100, 1000), 0.5)
    seeded = torch.Generator().manual_seed(0)
    noise = corrupt(x, "gaussian", 0.2, seeded) - 0.5
    assert abs(noise.mean().item()) < 0.01 and abs(noise.std().item() - 0.2) < 0.01
    masked = corrupt(x, "masking", 0.3, seeded)
    assert masked.unique().tolist() == [0.0, 0.5] and abs((masked == 0).float().mean().item() - 0.3) < 0.01
    peppered = corrupt(x, "salt_pepper", 0.4, seeded)
    assert [round((peppered == v).float().mean().item(), 1) for v in (0.0, 0.5, 1.0)] == [0.2, 0.6, 0.2]
    assert (x == 0.5).all()


def test_a_cropped_picture_is_a_window_of_the_whole():
    ramp = torch.arange(32.0).expand(32, 32)  # the value is the place: its slope in a window is the window's size
    x = torch.stack([ramp, ramp.T]).expand(2000, 2, 32, 32)
    seen = corrupt(x, "crop", 0.5, torch.Generator().manual_seed(0))
    inner = seen[..., 2:-2, 2:-2]  # at the borders nothing is beyond, and values stay
    slopes = {0: inner[:, 0].diff(dim=2).mean((1, 2)), 1: inner[:, 1].diff(dim=1).mean((1, 2))}
    assert seen.min() >= 0 and seen.max() <= 31
    for slope in slopes.values():
        assert slope.abs().min() > 0.49 and slope.abs().max() < 1.01
        assert abs(slope.abs().mean().item() - 0.75) < 0.02
    assert abs((slopes[0] < 0).float().mean().item() - 0.5) < 0.04 and (slopes[1] > 0).all()
    whole = corrupt(x[:50], "crop", 0.0, torch.Generator().manual_seed(0))
    assert all(
        torch.allclose(a, b, atol=1e-4) or torch.allclose(a, b.flip(-1), atol=1e-4)
        for a, b in zip(whole, x[:50], strict=True)
    )


@pytest.mark.parametrize("height, width", [(32, 32), (24, 40)])
def test_a_turned_window_keeps_angles_and_sizes(height, width):
    across, down = torch.arange(float(width)).expand(height, width), torch.arange(float(height)).expand(width, height).T
    x = torch.stack([across, down]).expand(2000, 2, height, width)
    seen = random_window(x, 0.5, 60.0, torch.Generator().manual_seed(0))
    middle = seen[:, :, height // 2 - 1 : height // 2 + 1, width // 2 - 1 : width // 2 + 1]
    rows, columns = middle.diff(dim=2).mean((2, 3)), middle.diff(dim=3).mean((2, 3))  # slopes (B, 2)
    for sizes in (torch.hypot(rows, columns)).T:  # of the window's sides
        assert sizes.min() > 0.49 and sizes.max() < 1.01 and abs(sizes.mean().item() - 0.75) < 0.02
    degrees = torch.rad2deg(torch.atan2(columns[:, 1], rows[:, 1]))
    assert degrees.abs().max() < 60.5 and abs(degrees.mean().item()) < 3 and abs(degrees.abs().mean().item() - 30) < 2
    other = torch.rad2deg(torch.atan2(-rows[:, 0], columns[:, 0].abs())) * columns[:, 0].sign()
    torch.testing.assert_close(degrees, other, atol=0.1, rtol=0)  # both sides by the same


def test_a_view_is_noisy_by_up_to_its_level():
    x = torch.full((2000, 1, 20, 20), 0.5)
    spread = (corrupt(x, "view", 0.4, torch.Generator().manual_seed(0)) - 0.5).flatten(1).std(1)
    assert spread.max() < 0.46 and spread.min() < 0.01 and abs(spread.mean().item() - 0.2) < 0.01
    still = corrupt(x[:9], "view", 0.0)
    torch.testing.assert_close(still, x[:9])


@pytest.mark.parametrize(
    "kind, level", [("crop", 0.5), ("view", 0.5), ("masking", 1.1), ("gaussian", -1), ("rain", 0.5)]
)
def test_impossible_corruptions_are_refused(kind, level):
    with pytest.raises(ValueError, match=kind):
        corrupt(torch.zeros(2, 2), kind, level)


def test_grey_pixels_against_torchs_cross_entropy():
    logits, x = 8 * normal(5, 40), torch.rand(5, 40, generator=torch.Generator().manual_seed(2))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits.double(), x.double(), reduction="none").sum(
        1
    )
    torch.testing.assert_close(bernoulli_nll(logits, x), expected.float())


def test_a_learned_deviation_has_its_gradient():
    mean, x, std = normal(4, 6), normal(4, 6, seed=1), torch.tensor(0.7, requires_grad=True)
    nll = gaussian_nll(mean, x, std)
    torch.testing.assert_close(nll.detach(), gaussian_nll(mean, x, 0.7))
    nll.sum().backward()
    expected = 24 / 0.7 - (mean - x).square().sum() / 0.7**3  # of n log s + squares / (2 s^2)
    torch.testing.assert_close(std.grad, expected)


def test_log_densities_against_torchs_distribution():
    z, mean, log_variance = normal(3, 5, 4), normal(3, 1, 4, seed=1), normal(3, 1, 4, seed=2)
    expected = Normal(mean.double(), (0.5 * log_variance.double()).exp()).log_prob(z.double()).sum(-1)
    torch.testing.assert_close(gaussian_log_density(z, mean, log_variance), expected.float())
    expected = Normal(0.0, 1.0).log_prob(z.double()).sum(-1)
    torch.testing.assert_close(standard_log_density(z), expected.float())


def test_log_mean_exp_survives_far_numbers():
    log_weights = torch.tensor([[-2000.0, -2000.0 + math.log(3)]], dtype=torch.float64)
    torch.testing.assert_close(log_mean_exp(log_weights), torch.tensor([-2000 + math.log(2)], dtype=torch.float64))


def test_sparsity_is_zero_at_its_target_and_else_the_divergence():
    activations = torch.tensor([[0.1, 0.3], [0.3, 0.5]])  # means 0.2 and 0.4
    expected = kl_divergence(Bernoulli(0.2), Bernoulli(torch.tensor(0.4)))
    torch.testing.assert_close(sparsity_kl(activations, 0.2), expected)


def test_contractive_penalty_is_the_jacobians_norm():
    weight = normal(6, 4)
    x = normal(3, 6, seed=1)

    def encode(x):
        return (x @ weight).tanh()

    exact = torch.stack([torch.func.jacrev(encode)(row).square().sum() for row in x])
    many = x.repeat_interleave(20_000, 0)
    z, squares = contractive_penalty(encode, many, torch.Generator().manual_seed(0))
    torch.testing.assert_close(z.detach(), encode(many))
    torch.testing.assert_close(squares.detach().view(3, -1).mean(1), exact, rtol=0.02, atol=0)
