"""Masked autoencoders: which patches are hidden, what is to be said of them, and how well it was said.

B images of L patches, P numbers each; He et al. 2022, "Masked autoencoders are scalable vision learners".
"""

import torch
from torch import Tensor

from zoo.functional.precision import full_precision
from zoo.functional.randomness import counter_based_uniform

_STREAM = 0x3A5C  # of the numbers that a seed gives, those for masks
_EPS = 1e-6  # of a patch's variance, MAE's


def check_mask(patches: int, mask_ratio: float) -> None:
    """Refuse a ratio that leaves no patch visible, or hides none.

    Args:
        patches: Number of an image's patches, L.
        mask_ratio: Share of them that is hidden.

    Raises:
        ValueError: says which ratios would do.
    """
    if not 0 < mask_ratio < 1:
        raise ValueError(f"mask_ratio must be more than 0 and less than 1; got {mask_ratio}")
    if patches < 2:
        raise ValueError("an image is one patch: nothing is left to hide; take smaller ones (`network.patch`)")
    if 1 <= count_visible(patches, mask_ratio) < patches:
        return
    fault = "leaves none visible" if count_visible(patches, mask_ratio) == 0 else "hides none"
    raise ValueError(
        f"mask_ratio {mask_ratio:g} of {patches} patches {fault}: take {1 / patches:.2g} to {1 - 1 / patches:.2g}, "
        "or smaller patches (`network.patch`)"
    )


def count_visible(patches: int, mask_ratio: float) -> int:
    """Number of an image's patches that stay visible, int(L (1 - ratio)) as in MAE."""
    return int(patches * (1 - mask_ratio))


def split_patches(
    index: Tensor, grid: tuple[int, int], mask_ratio: float, seed: int, epoch: int, block: int = 1
) -> tuple[Tensor, Tensor]:
    """Which patches of each image are visible and which are hidden, by (seed, epoch, sample) alone: the same in any
    batch, on any process and device.

    Args:
        index: The samples' indices, (B,) long, 0 or more.
        grid: Patches along height and width, (h, w).
        mask_ratio: Share of the patches that is hidden.
        seed: Seed of the run.
        epoch: Number of the epoch, which has masks of its own; -1 for those of evaluation.
        block: Side in patches of the blocks that are hidden whole, but for one at most, which makes the number exact,
            and for the ends of a grid that blocks do not divide (Yang et al. 2025, Pixio).

    Returns:
        Visible (B, int(L (1 - ratio))) and hidden (B, the rest), long: numbers of patches in random order.
    """
    h, w = grid
    across = -(-w // block)
    blocks = -(-h // block) * across
    start = hash((_STREAM, seed, epoch))
    place = torch.arange(blocks + h * w, device=index.device)
    u = counter_based_uniform(start, index.unsqueeze(1) * len(place) + place)
    order = u[:, h * w :].argsort(1).argsort(1)  # (B, blocks), each block's rank
    rows, columns = torch.arange(h, device=index.device), torch.arange(w, device=index.device)
    block_of = (rows[:, None] // block * across + columns // block).flatten()  # (L,)
    chosen = (order[:, block_of] + u[:, : h * w]).argsort(1)  # block by block, and in random order within
    kept = count_visible(h * w, mask_ratio)
    return chosen[:, :kept], chosen[:, kept:]


def take(tokens: Tensor, which: Tensor) -> Tensor:
    """Of tokens (B, L, D) those numbered by ``which`` (B, T): (B, T, D)."""
    return tokens.gather(1, which.unsqueeze(2).expand(-1, -1, tokens.shape[2]))


def put(tokens: Tensor, which: Tensor, values: Tensor) -> Tensor:
    """Tokens (B, L, D) with those numbered by ``which`` (B, T) replaced by ``values`` (B, T, D)."""
    return tokens.scatter(1, which.unsqueeze(2).expand(-1, -1, tokens.shape[2]), values.to(tokens.dtype))


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch (..., P): (..., 1) each."""
    wide = full_precision(patches)
    return wide.mean(-1, keepdim=True), (
        wide.var(-1, keepdim=True, correction=min(1, wide.shape[-1] - 1)) + _EPS
    ).sqrt()


def patch_targets(patches: Tensor, normalise: bool = True) -> Tensor:
    """What a decoder is to say of patches (..., P): their numbers, in units of each patch's own mean and deviation."""
    if not normalise:
        return full_precision(patches)
    mean, std = patch_statistics(patches)
    return (full_precision(patches) - mean) / std


def patch_error(answers: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error over patches and their numbers, in full precision: (B, T, P) each, to a scalar."""
    return (full_precision(answers) - targets).square().mean()


def explained_share(error: Tensor, targets: Tensor) -> Tensor:
    """Share of the variance of targets (B, T, P) that is predicted: 0 is what their mean would have, 1 is all."""
    return 1 - error / targets.var(correction=0).clamp_min(_EPS)
