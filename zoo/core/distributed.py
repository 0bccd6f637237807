"""Collective work of several processes: rows of all ranks, and one pass over the training data."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from zoo.core.batch import INPUT, as_mapping

_alone = False


def several_processes() -> bool:
    """Whether this process works with others; it does not while it trains a module ``alone``."""
    return torch.distributed.is_available() and torch.distributed.is_initialized() and not _alone


@contextmanager
def alone(module: nn.Module) -> Iterator[None]:
    """Let a module, its metrics included, ask nothing of other processes, which are not training it."""
    global _alone
    metrics = [(part, part.distributed_available_fn) for part in module.modules() if isinstance(part, Metric)]
    before, _alone = _alone, True
    for metric, _ in metrics:
        metric.distributed_available_fn = several_processes
    try:
        yield
    finally:
        _alone = before
        for metric, available in metrics:
            metric.distributed_available_fn = available


def gather_rows(x: Tensor, world_size: int, equal: bool = False) -> Tensor:
    """The ranks' rows (N_r, ...), one rank after the other, on all ranks; without gradients.

    Args:
        x: Rows of this rank.
        world_size: World size of the trainer; one that trains within another's process has 1.
        equal: Whether all ranks have as many rows; otherwise the counts are exchanged first, which synchronises a GPU.
    """
    if world_size == 1:
        return x
    counts = [len(x)] * world_size
    if not equal:
        number = torch.tensor(len(x), device=x.device)
        numbers = [torch.zeros_like(number) for _ in range(world_size)]
        torch.distributed.all_gather(numbers, number)
        counts = [int(n) for n in numbers]
    padded = x.detach().contiguous()
    if len(x) < max(counts):
        padded = torch.cat([padded, x.new_zeros(max(counts) - len(x), *x.shape[1:])])
    parts = [torch.empty_like(padded) for _ in range(world_size)]
    torch.distributed.all_gather(parts, padded)
    return torch.cat([rows[:n] for rows, n in zip(parts, counts, strict=True)])


def gather_with_gradient(x: Tensor) -> Tensor:
    """The ranks' rows (N, ...), as many on each, on all ranks: (R * N, ...); gradients of all ranks are summed.

    If every rank computes the same loss of the whole batch from them, DDP's mean over the ranks is that loss's gradient
    exactly. One process alone gets its own rows.
    """
    return _GatherRows.apply(x) if several_processes() else x


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
        return gather_rows(x, torch.distributed.get_world_size(), equal=True)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        grad = grad.contiguous()
        torch.distributed.all_reduce(grad)
        return grad.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]


def training_batches(trainer: Any, input_key: str = INPUT) -> Iterator[Mapping[str, Any]]:
    """One pass over this rank's training data, from their beginning, on the device.

    With a datamodule it has a loader of its own, so that the trainer's keeps its position.

    Args:
        trainer: Trainer that is fitting.
        input_key: Key of the input where a loader gives bare tensors.
    """
    data: Any = getattr(trainer, "datamodule", None)
    for batch in data.train_dataloader() if data else trainer.train_dataloader or ():
        yield as_mapping(trainer.strategy.batch_to_device(batch), input_key)  # runs the datamodule's hooks, too


def training_rows(trainer: Any, input_key: str, most: int) -> Tensor:
    """The first training inputs of all ranks, flat, (N, D) float32; N is ``most`` at most."""
    wanted, rows = -(-most // trainer.world_size), list[Tensor]()
    for batch in training_batches(trainer, input_key):
        rows.append(batch[input_key].flatten(1).float()[:wanted])
        if (wanted := wanted - len(rows[-1])) <= 0:
            break
    return gather_rows(torch.cat(rows), trainer.world_size)
