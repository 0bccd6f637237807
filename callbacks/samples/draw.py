"""Samples of a generative module as images, the same at every call.

The protocol: ``module.sample(n)`` gives n images (n, C, H, W), of 1 or 3 channels, normalised as the data are; a
module whose attribute ``conditional`` is true also takes ``labels``, the classes (n,) long that it is asked for.
Whoever has no such method, gives other things, or raises ``ValueError`` as this variant cannot sample, is left alone.
"""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from callbacks.figures import denormalised
from zoo.functional.randomness import fixed_randomness

_AT_ONCE = 250


def samples_images(module: Any) -> bool:
    """Whether the module samples images."""
    if not callable(getattr(module, "sample", None)):
        return False
    try:
        images = _sample(module, 2, None, 0)
    except ValueError:
        return False
    return isinstance(images, Tensor) and images.ndim == 4 and images.shape[1] in (1, 3)


def two_samples(module: Any) -> Tensor:
    """Two samples (2, C, H, W) as the module gives them: neither clamped nor rounded."""
    return _sample(module, 2, None, 0)


def draw_samples(trainer: pl.Trainer, module: Any, n: int, labels: Tensor | None = None, seed: int = 0) -> Tensor:
    """This process's share of ``n`` samples: (n / processes, C, H, W) uint8 on the CPU, together the same for any
    number of processes; torch's random state stays as it was.

    Args:
        trainer: Trainer at work.
        module: Module that samples.
        n: Number of samples on all processes.
        labels: Labels of the data, (N,) long, -1 for unlabelled: conditional modules are asked for classes as often.
        seed: Seed of the samples, which are the same until the module changes.
    """
    starts = range(0, n, _AT_ONCE)[trainer.global_rank :: trainer.world_size]
    parts = [_sample(module, min(_AT_ONCE, n - start), labels, seed + start) for start in starts]
    if not parts:  # fewer chunks than processes
        return to_uint8(_sample(module, 2, labels, seed)[:0], trainer)
    return torch.cat([to_uint8(part, trainer) for part in parts])


def first_samples(trainer: pl.Trainer, module: Any, n: int, seed: int = 0) -> Tensor:
    """``n`` samples (n, C, H, W) uint8 on the CPU, on this process alone; of a conditional module as it chooses."""
    return to_uint8(_sample(module, n, None, seed), trainer)


@torch.no_grad()
def _sample(module: Any, n: int, labels: Tensor | None, seed: int) -> Tensor:
    with fixed_randomness(seed, module.device):
        if not getattr(module, "conditional", False) or labels is None or not (known := labels[labels >= 0]).numel():
            return module.sample(n)
        chosen = known.cpu()[torch.randint(len(known), (n,))].to(module.device)
        return module.sample(n, labels=chosen)


def to_uint8(images: Tensor, trainer: pl.Trainer) -> Tensor:
    """Images (B, C, H, W), normalised as the data are, to uint8 on the CPU; what is not finite is black."""
    return denormalised(images, trainer).nan_to_num(0.0).mul(255).round().to(torch.uint8)
