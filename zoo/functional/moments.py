"""Sums over rows, accumulated block by block, from which mean and covariance follow in one pass over the data.

B rows of D numbers make a block, N rows the whole. Sums are kept about a point c near the mean, so that a large mean
cancels nothing: each block's products are taken about the block's own mean, in the working precision, and moved to c
in float64 (Chan, Golub & LeVeque 1983, for any point). Rows of uint8 are taken about 128: all their sums are whole
numbers and exact, so neither the size of the batches nor their order nor the number of processes changes a bit.

Where D x D is too much, sums are kept of the products' projection onto W directions: S Omega in place of S.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

_MIDDLE = 128  # of uint8
_BYTES_AT_ONCE = 65_536  # rows whose products of bytes, 2^14 at most, add up in 32 bits
_ROWS_AT_ONCE = 1024  # the same in float32's 24 bits; and other rows, whose rounding grows with the sum's length


class Moments(NamedTuple):
    """Of ``rows`` () rows about ``shift`` (D,): the sum of y = x - shift, ``total`` (D,); of y^2, ``energy`` (); and
    of y y^T, ``product`` (D, D), or of y y^T Omega, (D, W). All float64 once added to something."""

    rows: Tensor
    shift: Tensor
    total: Tensor
    energy: Tensor
    product: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean of the rows, (D,)."""
        return self.shift + self.total / self.rows


def empty_moments(shift: Tensor, directions: Tensor | None = None) -> Moments:
    """Moments of no rows yet, about ``shift`` (D,), for ``directions`` (D, W) or all of them."""
    shift = shift.double()
    width = len(shift) if directions is None else directions.shape[1]
    zero = shift.new_zeros(())
    return Moments(zero, shift, torch.zeros_like(shift), zero.clone(), shift.new_zeros(len(shift), width))


def row_moments(rows: Tensor, directions: Tensor | None = None) -> Moments:
    """Moments of a batch of rows about a point of its own, near their mean.

    Args:
        rows: (B, D). uint8 are exact, float64 and wide whole numbers are multiplied in float64, all else in float32
            (as ``torch.set_float32_matmul_precision`` has it).
        directions: Omega (D, W), or None for all.

    >>> row_moments(torch.tensor([[1.0, 2.0], [3.0, 6.0]])).mean
    tensor([2., 4.], dtype=torch.float64)
    """
    exact = rows.dtype == torch.uint8 and directions is None
    size = _BYTES_AT_ONCE if exact and _multiplies_bytes(rows.device) else _ROWS_AT_ONCE
    blocks = [_block(part, directions) for part in rows.split(size)]
    if len(blocks) == 1:
        return blocks[0]
    whole = empty_moments(blocks[0].shift, directions)
    for block in blocks:
        whole = add_moments(whole, block, directions)
    return whole


def _block(rows: Tensor, directions: Tensor | None) -> Moments:
    if rows.dtype == torch.uint8:
        if directions is None and _multiplies_bytes(rows.device):
            y = (rows ^ _MIDDLE).view(torch.int8).contiguous()  # the highest bit flipped: less 128
            product = torch._int_mm(y.T, y)
        else:
            y = rows.float().sub_(_MIDDLE)
            product = _product(y, directions)
        shift = torch.full((rows.shape[1],), float(_MIDDLE), dtype=torch.float64, device=rows.device)
        total = y.sum(0, dtype=torch.int64).double() if y.dtype == torch.int8 else y.sum(0, dtype=torch.float64)
    else:
        wide = not rows.is_floating_point() and rows.dtype.itemsize > 2
        rows = rows.to(torch.float64 if wide or rows.dtype == torch.float64 else torch.float32)
        centre = rows.mean(0)
        y = rows - centre  # exact where it matters: numbers near each other
        product, shift, total = _product(y, directions), centre.double(), y.sum(0, dtype=torch.float64)
    squares = product.diagonal() if directions is None else y.square().sum(0)
    return Moments(total.new_tensor(float(len(rows))), shift, total, squares.double().sum(), product)


def _product(y: Tensor, directions: Tensor | None) -> Tensor:
    return y.T @ (y if directions is None else y @ directions.to(y.dtype))


@lru_cache
def _multiplies_bytes(device: torch.device) -> bool:
    """Whether products of int8 are exact and fast: on a CPU with instructions for them (18 times float32's speed)."""
    has_instructions = getattr(torch.cpu, "_is_vnni_supported", lambda: False)  # no public name yet
    return device.type == "cpu" and torch.backends.mkldnn.is_available() and bool(has_instructions())


def add_moments(into: Moments, other: Moments, directions: Tensor | None = None) -> Moments:
    """Moments of both sets of rows together, about ``into.shift``; ``into.product`` is overwritten.

    For y' = y + delta: the sum of y' y'^T is that of y y^T, and t delta^T + delta (t + n delta)^T for t the sum of y.
    """
    delta = other.shift - into.shift
    total = other.total + other.rows * delta
    energy = other.energy + delta @ (other.total + total)
    left, right = torch.stack((other.total, delta), 1), torch.stack((delta, total))
    right = right if directions is None else right @ directions.double()
    product = into.product.add_(other.product).addmm_(left, right)
    return Moments(into.rows + other.rows, into.shift, into.total + total, into.energy + energy, product)


def variance(moments: Moments) -> Tensor:
    """The mean squared distance of the rows from their mean, a scalar."""
    return (moments.energy - moments.total.square().sum() / moments.rows) / moments.rows


def covariance(moments: Moments, directions: Tensor | None = None) -> Tensor:
    """Covariance with the divisor N - 1: (D, D), or its projection onto the directions, (D, W). It takes the place of
    ``moments.product`` where that is float64: two such matrices are more memory than the rest of a pass needs."""
    total = moments.total if directions is None else moments.total @ directions.double()
    return moments.product.double().addr_(moments.total / moments.rows, total, alpha=-1).div_(moments.rows - 1)
