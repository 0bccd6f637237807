"""What callbacks that measure share: the training data, what all processes have, randomness that leaves no trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from callbacks.figures import named_tensors


def training_batches(trainer: pl.Trainer) -> Iterator[dict[str, Any]]:
    """From the start, on the device; a loader of its own where there is a datamodule, so that none loses its place."""
    data: Any = getattr(trainer, "datamodule", None)
    loader = data.train_dataloader() if data else trainer.train_dataloader
    for batch in loader or ():
        yield named_tensors(trainer.strategy.batch_to_device(batch))  # runs the datamodule's hooks, too


def gather(trainer: pl.Trainer, x: Tensor) -> Tensor:
    """The ranks' rows (N_r, ...), one rank after the other, on all ranks."""
    if trainer.world_size == 1:
        return x
    count = torch.tensor(len(x), device=x.device)
    counts: list[int] = trainer.strategy.all_gather(count).tolist()  # type: ignore[union-attr]
    padded = x.new_zeros(max(counts), *x.shape[1:])
    padded[: len(x)] = x
    gathered = trainer.strategy.all_gather(padded)
    return torch.cat([rows[:n] for rows, n in zip(gathered, counts, strict=True)])  # type: ignore[arg-type]


@contextmanager
def fixed_randomness(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """torch's generators, of the CPU and of ``device``, seeded inside and as before outside."""
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield
