"""A generator in the data's range, by class if wanted, and the critic's last layer."""

from typing import Any

import torch
from torch import Tensor, nn

from zoo.functional.normalisation import value_range
from zoo.functional.precision import full_precision
from zoo.networks.precision import Averageable, FullPrecisionBuffers, cast_like
from zoo.networks.spec import GENERATORS, Spec, build

CLASS_DIM = 32  # length of a class's embedding, which is concatenated with the noise


class Generator(Averageable, FullPrecisionBuffers):
    """Noise (B, *latent_shape), and classes (B,) long if conditional, to images in the data's range.

    Args:
        spec: Name in ``GENERATORS``, or a mapping with its options.
        latent_dim: Length of the noise, for networks that take a vector.
        output_shape: Shape (C, H, W) of the images.
        num_classes: Number of classes, 0 for none. A class's embedding is concatenated with the noise.
        normalisation: Normalisation of the data, which the images get, too.

    Raises:
        ValueError: classes for a network that takes no vector.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        spec: Spec | nn.Module,
        latent_dim: int,
        output_shape: tuple[int, ...],
        num_classes: int = 0,
        normalisation: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        extra = CLASS_DIM if num_classes else 0
        self.network = build(spec, GENERATORS, latent_dim=latent_dim + extra, output_shape=output_shape)
        shape = tuple(getattr(self.network, "latent_shape", (latent_dim + extra,)))
        if extra and len(shape) > 1:
            raise ValueError("a class is a vector beside the noise: generator 'image' cannot be conditional")
        self.latent_shape = (latent_dim,) if len(shape) == 1 else shape
        self.classes = nn.Embedding(num_classes, CLASS_DIM) if num_classes else None
        low, high = value_range(normalisation)
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.classes is not None and labels is not None:
            z = torch.cat([z, self.classes(labels).to(z.dtype)], 1)
        share = full_precision(self.network(cast_like(z, self.network))).sigmoid()
        return torch.lerp(self.low.to(share), self.high.to(share), share)


class CriticHead(nn.Module):
    """Features (B, F), and classes (B,) long if conditional, to logits (B,).

    With classes a projection is added: the features' product with the class's embedding (Miyato & Koyama 2018).
    """

    def __init__(self, feature_dim: int, num_classes: int = 0) -> None:
        super().__init__()
        self.linear = nn.Linear(feature_dim, 1)
        self.classes = nn.Embedding(num_classes, feature_dim) if num_classes else None
        if self.classes is not None:
            nn.init.zeros_(self.classes.weight)  # begins as the unconditional critic

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        logits = full_precision(self.linear(features).squeeze(1))
        if self.classes is not None and labels is not None:
            logits = logits + (self.classes(labels) * features).sum(1)
        return logits
