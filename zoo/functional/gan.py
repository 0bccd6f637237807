"""Losses and penalties of generative adversarial networks: pure functions of logits and pictures.

The critic (or discriminator) gives a logit for each picture, high for what it takes for real. Every loss here is a pair
of functions: the critic's of (real, fake) logits, and the generator's of the same two. All are means over the batch.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Objective = Literal["non_saturating", "minimax", "least_squares", "hinge", "wasserstein", "relativistic"]


class GANLoss(NamedTuple):
    """What the critic and what the generator minimise: functions of logits of real (B,) and of fake (B,) pictures."""

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]


def critic_cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(real) - log(1 - D(fake)), D the logit's sigmoid (Goodfellow et al. 2014); 2 log 2 is chance."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_non_saturating(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(fake): its slope stays where the critic is sure (Goodfellow et al. 2014)."""
    return F.softplus(-fake).mean()


def generator_minimax(real: Tensor, fake: Tensor) -> Tensor:
    """log(1 - D(fake)): the game of the proofs, whose slope fades where the critic is sure."""
    return -F.softplus(fake).mean()


def critic_least_squares(real: Tensor, fake: Tensor) -> Tensor:
    """(real - 1)^2 / 2 + fake^2 / 2 (Mao et al. 2017)."""
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def generator_least_squares(real: Tensor, fake: Tensor) -> Tensor:
    """(fake - 1)^2 / 2."""
    return (fake - 1).square().mean() / 2


def critic_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """max(0, 1 - real) + max(0, 1 + fake) (Lim & Ye 2017)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def critic_wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    """fake - real (Arjovsky et al. 2017): of a critic whose slope ``gradient_penalty`` keeps at 1."""
    return fake.mean() - real.mean()


def generator_wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    """-fake; the generator of the hinge loss, too."""
    return -fake.mean()


def critic_relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(real - fake), each fake beside a real one (Jolicoeur-Martineau 2019; R3GAN, Huang et al. 2024)."""
    return F.softplus(fake - real).mean()


def generator_relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """The other way round."""
    return F.softplus(real - fake).mean()


LOSSES: dict[str, GANLoss] = {
    "non_saturating": GANLoss(critic_cross_entropy, generator_non_saturating),
    "minimax": GANLoss(critic_cross_entropy, generator_minimax),
    "least_squares": GANLoss(critic_least_squares, generator_least_squares),
    "hinge": GANLoss(critic_hinge, generator_wasserstein),
    "wasserstein": GANLoss(critic_wasserstein, generator_wasserstein),
    "relativistic": GANLoss(critic_relativistic, generator_relativistic),
}


def input_gradients(critic: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B,) of pictures (B, C, H, W), and each logit's gradient by its picture, itself differentiable."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = critic(x)
        # Where a critic looks at each picture alone, the gradient of the sum holds each one's own.
        (slopes,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return logits, slopes


def zero_centred_penalty(slopes: Tensor) -> Tensor:
    """Mean of |slope|^2 / 2 (Mescheder et al. 2018): R1 of real pictures' slopes, R2 of fakes'; (B, C, H, W) to ()."""
    return slopes.float().flatten(1).square().sum(1).mean() / 2


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    """WGAN-GP: mean of (|slope| - 1)^2 between real and fake pictures (Gulrajani et al. 2017).

    Args:
        critic: (B, C, H, W) to logits (B,).
        real, fake: (B, C, H, W).
        weight: (B,) of the real one, uniform in [0, 1].
    """
    mixed = torch.lerp(fake.detach(), real, weight.view(-1, *[1] * (real.ndim - 1)).to(real.dtype))
    _, slopes = input_gradients(critic, mixed)
    return (slopes.float().flatten(1).norm(dim=1) - 1).square().mean()


class GradientScale:
    """A number for each picture, (B,), that is known only after the critic has seen them all."""

    value: Tensor


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pictures: Tensor, factor: GradientScale) -> Tensor:  # type: ignore[override]
        ctx.factor = factor
        return pictures.view_as(pictures)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        factor = ctx.factor.value.to(grad.dtype)
        return grad * factor.view(-1, *[1] * (grad.ndim - 1)), None


def scale_gradient(pictures: Tensor, factor: GradientScale) -> Tensor:
    """The pictures (B, C, H, W) as they are; the gradient that comes back through them is multiplied by ``factor``."""
    return _ScaleGradient.apply(pictures, factor)  # type: ignore[no-any-return]


def gradient_ratio(critic_loss: Tensor, generator_loss: Tensor, logits: Tensor) -> Tensor:
    """How many times the generator's loss changes with each fake's logit what the critic's does, (B,).

    A critic that looks at every picture alone hands back to a picture the slope at its logit times something of its
    own. So the generator's gradient by a fake is the critic's times this. The critic's slope must never be zero, which
    is so for all objectives but "hinge" and "least_squares".
    """
    (critic,) = torch.autograd.grad(critic_loss, logits, retain_graph=True)
    (generator,) = torch.autograd.grad(generator_loss, logits, retain_graph=True)
    return generator / critic.clamp_min(torch.finfo(critic.dtype).tiny)


ONE_PASS = ("non_saturating", "minimax", "wasserstein", "relativistic")


def inject_gradient(pictures: Tensor, pull: Tensor) -> Tensor:
    """Zero, with ``pull`` as its gradient by ``pictures``: that of the generator's loss, found elsewhere.

    Args:
        pictures: (B, C, H, W) as the generator made them.
        pull: (B, C, H, W), a constant.
    """
    return ((pictures - pictures.detach()) * pull.detach()).sum()


def sliced_distance(x: Tensor, y: Tensor, directions: Tensor) -> Tensor:
    """Sliced Wasserstein-2 distance of two samples (Rabin et al. 2011; Bonneel et al. 2015), 0 for like ones.

    Args:
        x, y: (B, F) each, in any order.
        directions: (F, P), columns of length 1.

    Returns:
        The root of the mean squared distance between the sorted projections, a scalar.
    """
    return ((x @ directions).sort(0).values - (y @ directions).sort(0).values).square().mean().sqrt()
