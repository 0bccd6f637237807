"""Floating types: losses and statistics are computed in float32 or wider, whatever the networks' precision is."""

from collections.abc import Callable

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """A tensor in float32, or as it is where it has more bits; whole numbers become float32.

    >>> full_precision(torch.ones(1, dtype=torch.bfloat16)).dtype, full_precision(torch.ones(1).double()).dtype
    (torch.float32, torch.float64)
    """
    return x if x.dtype == torch.float64 else x.float()


def never_narrower(cast: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A function that moves tensors as ``cast`` does, but leaves floats their type where it would take bits from them.

    Args:
        cast: Function such as ``nn.Module._apply`` gets: it moves a tensor, casts it, or both.
    """

    def moved(x: Tensor) -> Tensor:
        result = cast(x)
        narrower = x.is_floating_point() and result.dtype.itemsize < x.dtype.itemsize
        return x.to(result.device) if narrower else result

    return moved
