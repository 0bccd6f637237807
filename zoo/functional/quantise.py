"""Vector quantisation: the nearest of K code vectors, gradients past the choice, and codes that follow their data.

van den Oord et al. 2017, "Neural discrete representation learning". N vectors of dimension D, K codes.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from zoo.functional.precision import full_precision


def nearest_code(z: Tensor, codebook: Tensor) -> Tensor:
    """Index of the code at the least Euclidean distance: (N, D) and (K, D) to (N,) long.

    >>> nearest_code(torch.tensor([[0.9, 0.0], [-2.0, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    tensor([0, 1])
    """
    z, codebook = full_precision(z), full_precision(codebook)
    return torch.addmm(codebook.square().sum(1), z, codebook.T, alpha=-2).argmin(1)  # |z|^2 is the same for all codes


def straight_through(z: Tensor, quantised: Tensor) -> Tensor:
    """The value of ``quantised`` with the gradient of ``z``."""
    return z + (quantised - z).detach()


def code_statistics(z: Tensor, indices: Tensor, codes: int) -> tuple[Tensor, Tensor]:
    """Number of vectors assigned to each code, (K,), and their sum, (K, D); float32."""
    z = full_precision(z)
    counts = torch.bincount(indices, minlength=codes).float()
    return counts, z.new_zeros(codes, z.shape[1]).index_add_(0, indices, z)


def perplexity(counts: Tensor) -> Tensor:
    """e^entropy of the codes' use, 1 to K: how many are effectively in use, as a scalar.

    >>> perplexity(torch.tensor([5.0, 5.0, 0.0, 0.0]))
    tensor(2.)
    """
    share = counts / counts.sum().clamp_min(1)
    return torch.special.entr(share).sum().exp()


def draw_rows(z: Tensor, n: int, generator: Generator | None = None) -> Tensor:
    """``n`` rows of (N, D), drawn with replacement."""
    return z[torch.randint(len(z), (n,), device=z.device, generator=generator)]


def commitment(z: Tensor, quantised: Tensor) -> Tensor:
    """Mean squared distance of vectors to their codes, whose gradient reaches the vectors alone: a scalar."""
    return F.mse_loss(full_precision(z), full_precision(quantised.detach()))
