"""Heads of joint-embedding methods: projectors, predictors, prototypes. They are thrown away after pretraining."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.distributed import gather_with_gradient, several_processes
from zoo.functional.precision import full_precision
from zoo.networks.precision import Averageable, FullPrecisionBuffers, cast_like


class WholeBatchNorm(nn.BatchNorm1d):
    """Batch norm of (B, D) with the statistics of all processes' rows; on CPUs as well, which SyncBatchNorm refuses.

    Each process has as many rows. One process alone is torch's batch norm.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and several_processes()):
            return super().forward(input)
        x = full_precision(input)
        rows = gather_with_gradient(x)
        variance, mean = torch.var_mean(rows, 0, unbiased=False)
        self._track(mean.detach(), variance.detach() * len(rows) / max(1, len(rows) - 1))
        x = (x - mean) * (variance + self.eps).rsqrt()
        return (x * self.weight + self.bias if self.affine else x).to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)


class Projector(Averageable):
    """(B, D) to (B, widths[-1]): linear layers with batch norm and ReLU between them.

    Args:
        input_dim: Number of features, D.
        widths: Outputs of each layer.
        last_norm: Whether a batch norm without parameters follows the last layer.
    """

    def __init__(self, input_dim: int, widths: Sequence[int], last_norm: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise([input_dim, *widths[:-1]]):
            layers += [nn.Linear(before, after, bias=False), WholeBatchNorm(after), nn.ReLU()]
        layers.append(nn.Linear([input_dim, *widths][-2], widths[-1], bias=not last_norm))
        if last_norm:
            layers.append(WholeBatchNorm(widths[-1], affine=False))
        self.layers = nn.Sequential(*layers)
        self.output_dim = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(cast_like(x, self))  # type: ignore[no-any-return]


class PrototypeProjector(Averageable):
    """DINO's head, (B, D) to logits (B, K) of K prototypes (Caron et al. 2021).

    Linear layers with GELU; their output and the prototypes are of length 1, so that logits are cosines.

    Args:
        input_dim: Number of features, D.
        widths: Outputs of each layer; prototypes are as long as the last one's.
        prototypes: Number of prototypes, K.
    """

    def __init__(self, input_dim: int, widths: Sequence[int], prototypes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise([input_dim, *widths]):
            layers += [nn.Linear(before, after), nn.GELU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.prototypes = nn.Parameter(torch.empty(prototypes, widths[-1]))
        self.output_dim = prototypes
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Prototypes in random directions."""
        nn.init.normal_(self.prototypes)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(self.layers(cast_like(x, self)), dim=1), F.normalize(self.prototypes, dim=1))


class Centre(FullPrecisionBuffers):
    """Moving average of DINO's targets (Caron et al. 2021): a teacher from which it is subtracted favours no prototype.

    Args:
        dim: Number of prototypes, K.
        momentum: Share of the old centre that is kept, the paper's 0.9.
    """

    mean: Tensor

    def __init__(self, dim: int, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(dim))

    @torch.no_grad()
    def update(self, targets: Tensor) -> None:
        """Move it towards the mean of targets (G, N, K), those of the whole batch."""
        self.mean.lerp_(full_precision(targets).mean((0, 1)), 1 - self.momentum)
