"""Autoencoders' mathematics: likelihoods, divergences and corruptions as pure functions.

B is the batch, D the latent dimension. All likelihoods and divergences are in nats, one value a sample, in float32.
"""

import math
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

Corruption = Literal["gaussian", "masking", "salt_pepper"]

# Variances within e^-20 .. e^10: wide enough for any data in ordinary units, and exp and its gradient stay finite.
LOG_VARIANCE_RANGE = (-20.0, 10.0)


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """Negative log-likelihood of ``x`` in [0, 1] under independent Bernoulli pixels.

    Args:
        logits: (B, ...), unbounded.
        x: (B, ...).

    Returns:
        (B,)
    """
    return F.binary_cross_entropy_with_logits(logits.float(), x.float(), reduction="none").flatten(1).sum(1)


def gaussian_nll(mean: Tensor, x: Tensor, std: float) -> Tensor:
    """Negative log-likelihood of ``x`` under a Gaussian of fixed standard deviation around ``mean``.

    Args:
        mean: (B, ...).
        x: (B, ...).
        std: in the units of ``x``.

    Returns:
        (B,)
    """
    squares = (mean.float() - x.float()).square().flatten(1)
    return squares.sum(1) / (2 * std**2) + squares.shape[1] * (math.log(std) + 0.5 * math.log(2 * math.pi))


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, e^log_variance) || N(0, 1)), appendix B of Kingma & Welling 2014.

    Args:
        mean: (B, D).
        log_variance: (B, D).

    Returns:
        (B,)
    """
    mean, log_variance = mean.float(), log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def reparameterise(mean: Tensor, log_variance: Tensor, generator: Generator | None = None) -> Tensor:
    """A sample of N(mean, e^log_variance) through which gradients flow (Kingma & Welling 2014).

    Args:
        mean: (B, D).
        log_variance: (B, D).
        generator: on the tensors' device; None is torch's own.

    Returns:
        (B, D)
    """
    noise = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device, generator=generator)
    return torch.addcmul(mean, noise, (0.5 * log_variance).exp())


def corrupt(x: Tensor, kind: Corruption, level: float, generator: Generator | None = None) -> Tensor:
    """The damage that a denoising autoencoder repairs (Vincent et al. 2010); ``x`` itself is left alone.

    Args:
        x: (B, ...).
        kind: "gaussian" adds noise, "masking" sets elements to 0, "salt_pepper" sets them to 0 or 1.
        level: the noise's standard deviation, or the share of elements that is replaced.
        generator: on the tensor's device; None is torch's own.

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
    hit = torch.rand(x.shape, device=x.device, generator=generator)
    if kind == "masking":
        return x * (hit >= level)
    if kind == "salt_pepper":
        return torch.where(hit < level, (hit < level / 2).to(x.dtype), x)
    raise ValueError(f"unknown corruption {kind!r}: gaussian, masking or salt_pepper")
