"""Domain adaptation: losses that make one network fit a labelled source and an unlabelled target.

B samples of each domain, D features, C classes. Features of source and target come as one batch, (2 B, D), the source's
first, as do logits.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.functional.diff_augment import diff_augment
from zoo.functional.precision import full_precision

_REACH = 3  # radius of a random filter in pixels


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:  # type: ignore[override]
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return -ctx.strength * gradient, None


def reverse_gradient(x: Tensor, strength: float = 1.0) -> Tensor:
    """Identity whose gradient is multiplied by ``-strength``: gradient reversal (Ganin et al. 2016)."""
    return _Reversal.apply(x, strength)


def ramp(progress: float, steepness: float = 10.0) -> float:
    """Weight from 0 to 1 with ``progress`` p, fast at first: 2 / (1 + e^(-10 p)) - 1 (Ganin et al. 2016)."""
    return 2 / (1 + math.exp(-steepness * progress)) - 1


def domain_loss(logits: Tensor, weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of a domain critic, with target 1 for the source and 0 for the target domain.

    Args:
        logits: Logits (2 B,), the source's first.
        weight: Weights of the samples, (2 B,); both halves count alike.
    """
    truth = torch.zeros_like(logits)
    truth[: len(logits) // 2] = 1.0
    each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    if weight is None:
        return each.mean()
    halves = zip(each.chunk(2), weight.chunk(2), strict=True)
    return sum((e * w).sum() / w.sum().clamp_min(1e-12) for e, w in halves) / 2  # type: ignore[return-value]


def conditioned(features: Tensor, probabilities: Tensor) -> Tensor:
    """All products of a feature and a class's probability (CDAN, Long et al. 2018): (N, D) and (N, C) to (N, C D)."""
    return (probabilities.unsqueeze(2) * features.unsqueeze(1)).flatten(1)


def certainty_weight(probabilities: Tensor) -> Tensor:
    """Weights of CDAN+E, 1 + e^-entropy of each sample's probabilities: (N, C) to (N,)."""
    return 1 + (-torch.special.entr(probabilities).sum(1)).exp()


def coral_loss(source: Tensor, target: Tensor) -> Tensor:
    """Squared distance of the features' covariances over 4 D^2 (deep CORAL, Sun & Saenko 2016): (B, D) each."""
    with torch.autocast(source.device.type, enabled=False):
        halves = [full_precision(x) - full_precision(x).mean(0) for x in (source, target)]
        stacked = torch.cat([x / (len(x) - 1) ** 0.5 for x in halves])
        sign = torch.cat([x.new_full((len(x),), s) for x, s in zip(halves, (1.0, -1.0), strict=True)])
        # The squared norm of Z^T S Z is the sum of S ZZ^T S * ZZ^T: of B x B values, where covariances have D x D.
        return ((stacked @ stacked.T).square() * sign.outer(sign)).sum() / (4 * source.shape[1] ** 2)


def aligned(target: Tensor, source: Tensor) -> Tensor:
    """The target's probabilities (B, C), rescaled to the mean class frequencies of the source's (B, C): distribution
    alignment (Berthelot et al. 2020)."""
    scaled = target * (source.mean(0) / target.mean(0).clamp_min(1e-6))
    return scaled / scaled.sum(1, keepdim=True)


def pseudo_label_loss(strong: Tensor, weak: Tensor, source: Tensor, threshold: float) -> Tensor:
    """Cross-entropy of strongly augmented target images against pseudo-labels from the same images without that
    augmentation, where these are confident enough (AdaMatch, Berthelot et al. 2022).

    Args:
        strong: Logits (B, C) of strongly augmented target images.
        weak: Logits (B, C) of the same images without that augmentation.
        source: Logits (B, C) of source images without it, whose confidence is the reference.
        threshold: Share of the source's mean confidence that a pseudo-label must reach.
    """
    with torch.no_grad():
        known = full_precision(source).softmax(1)
        said = aligned(full_precision(weak).softmax(1), known)
        sure = said.amax(1) >= threshold * known.amax(1).mean()
    return (F.cross_entropy(full_precision(strong), said.argmax(1), reduction="none") * sure).mean()


def warm_up(progress: float) -> float:
    """Weight from 0 to 1 along half a cosine, over the first half of the training."""
    return 0.5 - math.cos(min(math.pi, 2 * math.pi * progress)) / 2


def strong_view(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Strongly augmented images (B, C, H, W): translated by up to 1/8 of their sides, with random convolutions."""
    dark = x.amin((1, 2, 3), keepdim=True)
    return random_convolution(diff_augment(x, ["translation"], low=dark, generator=generator), generator)


def random_convolution(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Each image filtered by its own random convolution and blended with itself, which keeps shapes but not textures
    (Xu et al. 2021, "Robust and generalizable visual representation learning via random convolutions").

    Args:
        x: Images (B, C, H, W).
        generator: Generator of the filters' values, normal, of their sizes, 1 to 7 pixels (less where the image is
            small), and of the shares of the blend, uniform.

    Returns:
        Images of the same shape and means; before the blend the filtered ones have the same standard deviations, too.
    """
    count, channels, height, width = x.shape
    reach = min(_REACH, min(height, width) // 8)
    # One size for all in memory, cut down by a mask: a size drawn on a GPU would need a synchronisation.
    size = torch.randint(reach + 1, (count, 1, 1, 1, 1), device=x.device, generator=generator)
    away = torch.arange(-reach, reach + 1, device=x.device).abs()
    kept = torch.maximum(away.unsqueeze(1), away) <= size
    values = (count, channels, channels, *kept.shape[-2:])
    filters = torch.randn(values, device=x.device, dtype=x.dtype, generator=generator) * kept
    padded = F.pad(x, [reach] * 4, mode="replicate").view(1, count * channels, height + 2 * reach, width + 2 * reach)
    filtered = F.conv2d(padded, filters.flatten(0, 1), groups=count).view_as(x).to(x.dtype)
    std, mean = torch.std_mean(x, (1, 2, 3), keepdim=True)
    new_std, new_mean = torch.std_mean(filtered, (1, 2, 3), keepdim=True)
    filtered = (filtered - new_mean) / new_std.clamp_min(1e-6) * std + mean
    share = torch.rand(count, 1, 1, 1, device=x.device, dtype=x.dtype, generator=generator)
    return torch.lerp(x, filtered, share)
