"""Losses and penalties of generative adversarial networks: pure functions of logits and images.

The critic (or discriminator) gives a logit for each image, high for those taken for real. Every loss here is a pair
of functions: the critic's of (real, fake) logits, and the generator's of the same two. All are means over the batch.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from zoo.functional.precision import full_precision

Objective = Literal["non_saturating", "minimax", "least_squares", "hinge", "wasserstein", "relativistic"]


class GANLoss(NamedTuple):
    """The losses of critic and generator: functions of logits of real (B,) and of fake (B,) images."""

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]


def critic_cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(real) - log(1 - D(fake)), D the logit's sigmoid (Goodfellow et al. 2014); 2 log 2 is chance."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_non_saturating(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(fake): its gradient does not vanish when the critic is confident (Goodfellow et al. 2014)."""
    return F.softplus(-fake).mean()


def generator_minimax(real: Tensor, fake: Tensor) -> Tensor:
    """log(1 - D(fake)), the minimax loss of the original analysis; its gradient vanishes when the discriminator is
    confident."""
    return -F.softplus(fake).mean()


def critic_least_squares(real: Tensor, fake: Tensor) -> Tensor:
    """(real - 1)^2 / 2 + fake^2 / 2 (Mao et al. 2017)."""
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def generator_least_squares(real: Tensor, fake: Tensor) -> Tensor:
    """(fake - 1)^2 / 2 (Mao et al. 2017)."""
    return (fake - 1).square().mean() / 2


def critic_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """max(0, 1 - real) + max(0, 1 + fake) (Lim & Ye 2017).

    >>> critic_hinge(torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 1.0]))
    tensor(1.2500)
    """
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def critic_wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    """fake - real (Arjovsky et al. 2017), for a critic whose gradient norm ``gradient_penalty`` keeps at 1."""
    return fake.mean() - real.mean()


def generator_wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    """-fake: the generator's Wasserstein loss, and its hinge loss."""
    return -fake.mean()


def critic_relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(real - fake), each fake beside a real one (Jolicoeur-Martineau 2019; R3GAN, Huang et al. 2024)."""
    return F.softplus(fake - real).mean()


def generator_relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(fake - real): ``critic_relativistic`` with the roles exchanged."""
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
    """Logits (B,) of images (B, C, H, W), and each logit's gradient by its image, itself differentiable."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = critic(x)
        # Where a critic looks at each image alone, the gradient of the sum holds each one's own.
        (slopes,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return logits, slopes


def zero_centred_penalty(slopes: Tensor) -> Tensor:
    """Mean of |gradient|^2 / 2 (Mescheder et al. 2018): R1 at real images, R2 at fakes: (B, C, H, W) to ()."""
    return full_precision(slopes).flatten(1).square().sum(1).mean() / 2


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    """WGAN-GP: mean of (|gradient| - 1)^2 between real and fake images (Gulrajani et al. 2017).

    Args:
        critic: Function of images (B, C, H, W) to logits (B,).
        real, fake: Images (B, C, H, W).
        weight: Share of the real image, (B,), uniform in [0, 1].
    """
    mixed = torch.lerp(fake.detach(), real, weight.view(-1, *[1] * (real.ndim - 1)).to(real.dtype))
    _, slopes = input_gradients(critic, mixed)
    return (full_precision(slopes).flatten(1).norm(dim=1) - 1).square().mean()


def penalties(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, r1: float, r2: float, wgan_gp: float
) -> Tensor:
    """The weighted sum of R1 at real images, R2 at fake ones and WGAN-GP's penalty between them, a scalar.

    Args:
        critic: (B, C, H, W) to logits (B,).
        real, fake: (B, C, H, W).
        r1, r2, wgan_gp: Weights; 0 leaves a penalty out.
    """
    total = real.new_zeros((), dtype=torch.float32)
    for weight, x in ((r1, real), (r2, fake)):
        if weight:
            total = total + weight * zero_centred_penalty(input_gradients(critic, x)[1])
    if wgan_gp:
        share = torch.rand(len(real), device=real.device)
        total = total + wgan_gp * gradient_penalty(critic, real, fake, share)
    return total


class GradientScale:
    """A factor for each image, (B,), that is known only after the critic's forward pass over all of them."""

    value: Tensor


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, factor: GradientScale) -> Tensor:  # type: ignore[override]
        ctx.factor = factor
        return images.view_as(images)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        factor = ctx.factor.value.to(grad.dtype)
        return grad * factor.view(-1, *[1] * (grad.ndim - 1)), None


def scale_gradient(images: Tensor, factor: GradientScale) -> Tensor:
    """Identity on images (B, C, H, W) whose gradient is multiplied by ``factor`` in the backward pass."""
    return _ScaleGradient.apply(images, factor)  # type: ignore[no-any-return]


def gradient_ratio(critic_loss: Tensor, generator_loss: Tensor, logits: Tensor) -> Tensor:
    """Derivative of the generator's loss by each fake's logit over that of the critic's loss, (B,).

    Where the critic looks at every image alone, a loss's gradient by an image is its derivative by that image's logit
    times the logit's gradient. So the generator's gradient by a fake is the critic's times this ratio. The critic's
    derivative must never be zero, which holds for all objectives but "hinge" and "least_squares".
    """
    (critic,) = torch.autograd.grad(critic_loss, logits, retain_graph=True)
    (generator,) = torch.autograd.grad(generator_loss, logits, retain_graph=True)
    return generator / critic.clamp_min(torch.finfo(critic.dtype).tiny)


ONE_PASS = ("non_saturating", "minimax", "wasserstein", "relativistic")


def inject_gradient(images: Tensor, pull: Tensor) -> Tensor:
    """A zero whose gradient by ``images`` is ``pull``: the generator's gradient, computed elsewhere.

    Args:
        images: Images (B, C, H, W) from the generator.
        pull: Gradient by them, (B, C, H, W), a constant.
    """
    return ((images - images.detach()) * pull.detach()).sum()


def sliced_distance(x: Tensor, y: Tensor, directions: Tensor) -> Tensor:
    """Sliced Wasserstein-2 distance of two samples (Rabin et al. 2011; Bonneel et al. 2015), 0 for equal ones.

    Args:
        x, y: Samples (B, F) each, in any order.
        directions: Unit vectors as columns, (F, P).

    Returns:
        The root of the mean squared distance between the sorted projections, a scalar.

    >>> sliced_distance(torch.tensor([[0.0], [1.0]]), torch.tensor([[4.0], [3.0]]), torch.ones(1, 1))
    tensor(3.)
    """
    return ((x @ directions).sort(0).values - (y @ directions).sort(0).values).square().mean().sqrt()
