"""A codebook that learns without gradients."""

from typing import Any

import torch
from torch import Tensor, distributed, nn

from zoo.core.distributed import several_processes
from zoo.functional.precision import full_precision, never_narrower
from zoo.functional.quantise import code_statistics, draw_rows, nearest_code


class VectorQuantiser(nn.Module):
    """Codes that are moving averages of the vectors assigned to them (van den Oord et al. 2017, appendix A.1).

    A code that is hardly used any more is reset to a vector of the batch; so the codebook is initialised, too.
    Under DDP the ranks' statistics are summed.

    Args:
        codes: Number of codes, K.
        dim: Dimension of a code vector, D.
        decay: Decay of the moving averages at each training step.
        dead_below: Average number of a code's vectors in a batch below which it is reset.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, codes: int, dim: int, decay: float = 0.99, dead_below: float = 0.1) -> None:
        super().__init__()
        self.decay, self.dead_below = decay, dead_below
        self.register_buffer("codebook", torch.zeros(codes, dim))
        self.register_buffer("counts", torch.zeros(codes))
        self.register_buffer("sums", torch.zeros(codes, dim))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (N, D) to their codes (N, D) and these codes' indices (N,); training then updates the codebook."""
        if self.training:
            self._reset_dead_codes(full_precision(z.detach()))
        indices = nearest_code(z, self.codebook)
        quantised = self.codebook[indices].to(z.dtype)
        if self.training:
            self._update_codebook(z.detach(), indices)
        return quantised, indices

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        return super()._apply(never_narrower(fn), recurse)

    @torch.no_grad()
    def _reset_dead_codes(self, z: Tensor) -> None:
        dead = self.counts < self.dead_below
        fresh = draw_rows(z, len(self.counts))
        if several_processes():
            distributed.broadcast(fresh, 0)
        self.codebook.copy_(torch.where(dead[:, None], fresh, self.codebook))
        self.sums.copy_(torch.where(dead[:, None], fresh, self.sums))
        self.counts.masked_fill_(dead, 1)

    @torch.no_grad()
    def _update_codebook(self, z: Tensor, indices: Tensor) -> None:
        counts, sums = code_statistics(z, indices, len(self.counts))
        if several_processes():
            distributed.all_reduce(counts)
            distributed.all_reduce(sums)
        self.counts.lerp_(counts.to(self.counts), 1 - self.decay)
        self.sums.lerp_(sums.to(self.sums), 1 - self.decay)
        self.codebook.copy_(self.sums / self.counts.clamp_min(1e-6)[:, None])
