"""Autoencoders' mathematics: likelihoods, divergences, bounds, penalties and corruptions as pure functions.

B is the batch, D the latent dimension. All likelihoods and divergences are in nats, one value a sample, in float32.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from zoo.functional.precision import full_precision

Corruption = Literal["gaussian", "masking", "salt_pepper", "crop", "view"]
_LOG_2PI = math.log(2 * math.pi)

# Variances within e^-20 .. e^10: wide enough for any data in ordinary units, and exp and its gradient stay finite.
LOG_VARIANCE_RANGE = (-20.0, 10.0)


class _BernoulliNLL(torch.autograd.Function):
    """Sum over the pixels of log(1 + e^logit) - x logit, in two thirds of the time of autograd's own.

    Its derivative, sigmoid(logit) - x, needs nothing kept but what was given.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(logits, x)
        # log(1 + e^l) = max(l, 0) - log sigmoid|l|: never overflows, and both parts are fast.
        softplus = logits.clamp_min(0).sub_(logits.abs().sigmoid_().log_())
        return softplus.sub_(logits * x).sum(-1)  # no matrix product: autocast would take it to half precision

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:  # type: ignore[override]
        logits, x = ctx.saved_tensors
        grad = grad.unsqueeze(-1)
        for_x = -(grad * logits).sum_to_size(x.shape) if ctx.needs_input_grad[1] else None
        return grad * (logits.sigmoid() - x), for_x


def _aligned(guess: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """(B * K, ...) and (B, ...) as (B, K, P) and (B, 1, P), so that nothing needs to be repeated."""
    x = full_precision(x).flatten(1).unsqueeze(1)
    return full_precision(guess).reshape(len(x), -1, x.shape[-1]), x


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """Negative log-likelihood of ``x`` in [0, 1] under independent Bernoulli pixels.

    Args:
        logits: (B * K, ...), unbounded: K for each sample, one sample after the other.
        x: (B, ...).

    Returns:
        (B * K,)
    """
    return _BernoulliNLL.apply(*_aligned(logits, x)).flatten()


def gaussian_nll(mean: Tensor, x: Tensor, std: float | Tensor) -> Tensor:
    """Negative log-likelihood of ``x`` under a Gaussian around ``mean`` with one standard deviation for all elements.

    Args:
        mean: (B * K, ...): K for each sample, one sample after the other.
        x: (B, ...).
        std: Standard deviation in the units of ``x``; a tensor where it is learned (Rybkin et al. 2021).

    Returns:
        (B * K,)
    """
    mean, x = _aligned(mean, x)
    log_std = std.log() if isinstance(std, Tensor) else math.log(std)
    return ((mean - x).square().sum(-1) / (2 * std**2) + x.shape[-1] * (log_std + 0.5 * _LOG_2PI)).flatten()


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, e^log_variance) || N(0, 1)), appendix B of Kingma & Welling 2014.

    Args:
        mean: (B, D).
        log_variance: (B, D).

    Returns:
        (B,)

    >>> gaussian_kl(torch.tensor([[0.0, 0.0], [1.0, 2.0]]), torch.zeros(2, 2))
    tensor([0.0000, 2.5000])
    """
    mean, log_variance = full_precision(mean), full_precision(log_variance)
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def reparameterise(mean: Tensor, log_variance: Tensor, generator: Generator | None = None) -> Tensor:
    """A sample of N(mean, e^log_variance) through which gradients flow (Kingma & Welling 2014).

    Args:
        mean: (B, D).
        log_variance: (B, D).
        generator: Source of the noise, on the tensors' device; None is torch's own.

    Returns:
        (B, D)
    """
    # In float32 whatever the precision is, so that it is the same noise.
    noise = torch.randn(mean.shape, dtype=torch.float32, device=mean.device, generator=generator)
    return torch.addcmul(mean, noise.to(mean.dtype), (0.5 * log_variance).exp())


def gaussian_log_density(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log N(z; mean, e^log_variance).

    Args:
        z: (..., D).
        mean, log_variance: Tensors that broadcast with ``z``.

    Returns:
        (...)
    """
    z, mean, log_variance = full_precision(z), full_precision(mean), full_precision(log_variance)
    return -0.5 * ((z - mean).square() * (-log_variance).exp() + log_variance + _LOG_2PI).sum(-1)


def standard_log_density(z: Tensor) -> Tensor:
    """log N(z; 0, 1): (..., D) to (...)."""
    return -0.5 * (full_precision(z).square() + _LOG_2PI).sum(-1)


def log_mean_exp(log_weights: Tensor) -> Tensor:
    """log of the mean of e^log_weights over the last dimension: (..., K) to (...).

    Of importance weights p(x, z) / q(z | x) it is a lower bound on log p(x) that tightens as K grows (Burda et al.
    2016), and the estimate of log p(x) for large K.

    >>> log_mean_exp(torch.tensor([[1000.0, 1000.0], [-3.0, -3.0]]))
    tensor([1000.,   -3.])
    """
    return log_weights.logsumexp(-1) - math.log(log_weights.shape[-1])


def sparsity_kl(activations: Tensor, target: float) -> Tensor:
    """How far each unit's mean activation is from ``target``: sum over units of KL(target || mean) (Ng 2011).

    Args:
        activations: (B, D) in (0, 1).
        target: The mean activation wanted, in (0, 1).

    Returns:
        A scalar.

    >>> sparsity_kl(torch.full((4, 3), 0.05), 0.05)
    tensor(0.)
    """
    mean = full_precision(activations).mean(0).clamp(1e-6, 1 - 1e-6)
    log_ratio = (target / mean).log(), ((1 - target) / (1 - mean)).log()
    return (target * log_ratio[0] + (1 - target) * log_ratio[1]).sum()


def contractive_penalty(
    encode: Callable[[Tensor], Tensor], x: Tensor, generator: Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Codes, and an unbiased estimate of the squared Frobenius norm of their Jacobian (Rifai et al. 2011).

    With random signs v, E |J^T v|^2 = |J|^2 (Hutchinson 1990): one backward pass in place of D.

    Args:
        encode: (B, ...) to (B, D), each row depending on its own input alone.
        x: (B, ...).
        generator: Source of the random numbers, on the tensor's device; None is torch's own.

    Returns:
        (B, D), (B,)
    """
    with torch.inference_mode(False), torch.enable_grad():  # evaluations, too, need this gradient
        x = x.detach().clone().requires_grad_()
        z = encode(x)
        signs = torch.randint(0, 2, z.shape, device=z.device, generator=generator).to(z.dtype) * 2 - 1
        (gradient,) = torch.autograd.grad(z, x, signs, create_graph=True)
        return z, full_precision(gradient).square().flatten(1).sum(1)


def random_window(x: Tensor, level: float, degrees: float = 0.0, generator: Generator | None = None) -> Tensor:
    """A window of each image, anywhere in it, stretched to the whole size and mirrored at random.

    Like the random resized crops of contrastive learning (Chen et al. 2020); height and width are drawn independently.

    Args:
        x: (B, C, H, W).
        level: Share of a side that may be cut: the window's sides are 1 - level to 1 of the image's.
        degrees: Largest rotation of the window, to either side.
        generator: Source of the random numbers, on the tensor's device; None is torch's own.

    Returns:
        (B, C, H, W)
    """
    if x.ndim != 4:
        raise ValueError(f"corruptions 'crop' and 'view' need images (B, C, H, W), not {tuple(x.shape)}")
    chance = torch.rand(6, len(x), device=x.device, generator=generator)
    width, height = 1 - level * chance[:2]
    across, down = (1 - width) * (2 * chance[2] - 1), (1 - height) * (2 * chance[3] - 1)  # -1 to 1 is the image
    width = torch.where(chance[4] < 0.5, -width, width)
    angle, aspect = torch.deg2rad(degrees * (2 * chance[5] - 1)), x.shape[2] / x.shape[3]
    cos, sin = angle.cos(), angle.sin()
    window = [width * cos, -width * sin * aspect, across, height * sin / aspect, height * cos, down]
    places = F.affine_grid(torch.stack(window, 1).view(-1, 2, 3).to(x.dtype), list(x.shape), align_corners=False)
    return F.grid_sample(x, places, padding_mode="border", align_corners=False)


def random_view(x: Tensor, level: float, generator: Generator | None = None) -> Tensor:
    """A ``random_window``, rotated and noisy: a code from which the clean image is rebuilt cannot depend on these.

    Args:
        x: (B, C, H, W).
        level: Level of the window; the rotation is up to 90 x level degrees, and the noise's standard deviation up
            to level, drawn for each image.
        generator: Source of the random numbers, on the tensor's device; None is torch's own.

    Returns:
        (B, C, H, W)
    """
    seen = random_window(x, level, 90 * level, generator)
    spread = level * torch.rand(len(x), 1, 1, 1, dtype=x.dtype, device=x.device, generator=generator)
    return seen + spread * torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)


def corrupt(x: Tensor, kind: Corruption, level: float, generator: Generator | None = None) -> Tensor:
    """The corruption that a denoising autoencoder undoes (Vincent et al. 2010); ``x`` itself is not changed.

    Args:
        x: (B, ...).
        kind: "gaussian" adds noise, "masking" sets elements to 0, "salt_pepper" sets them to 0 or 1; "crop" shows a
            ``random_window``, "view" a ``random_view``.
        level: Standard deviation of the noise, share of the elements replaced, or share of a side that may be cut.
        generator: Source of the random numbers, on the tensor's device; None is torch's own.

    Returns:
        (B, ...)

    Raises:
        ValueError: an unknown kind, or a level out of range.
    """
    if level < 0 or (kind != "gaussian" and level > 1):
        raise ValueError(
            f"corruption level of {kind!r} must be {'0 or more' if kind == 'gaussian' else '0 to 1'}: {level}"
        )
    if kind == "gaussian":
        return x + level * torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
    if kind == "crop":
        return random_window(x, level, generator=generator)
    if kind == "view":
        return random_view(x, level, generator)
    hit = torch.rand(x.shape, device=x.device, generator=generator)
    if kind == "masking":
        return x * (hit >= level)
    if kind == "salt_pepper":
        return torch.where(hit < level, (hit < level / 2).to(x.dtype), x)
    raise ValueError(f"unknown corruption {kind!r}: gaussian, masking, salt_pepper, crop or view")
