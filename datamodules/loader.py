"""Loaders that serve whole batches, each rank its shard, and can go on in the middle of an epoch."""

from collections.abc import Iterator, Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from datamodules.base import SplitDataModule as PartedData  # noqa: F401  # its old place and name, for one release
from zoo.core.batch import INDEX, SEED


class ShardedSampler(DistributedSampler):
    """One seeded permutation an epoch, of which rank r of R takes every R-th index.

    As torch's own, a few indices are repeated where the ranks would get unequal numbers; one process repeats none.

    Args:
        data: Samples, of which only the number is used.
        rank: Number of this process.
        world_size: Number of processes.
        shuffle: Whether to permute anew every epoch; otherwise in order.
        seed: Seed of the permutations.
        period: Epochs after which orders and seeds begin again; None never repeats.
    """

    def __init__(
        self,
        data: Sized,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = False,
        seed: int = 0,
        period: int | None = None,
    ) -> None:
        super().__init__(data, num_replicas=world_size, rank=rank, shuffle=shuffle, seed=seed)  # type: ignore[arg-type]
        self.period = period

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which decides order and seeds; it repeats after ``period``."""
        super().set_epoch(epoch % self.period if self.period else epoch)

    def indices(self) -> Tensor:
        """This epoch's and this rank's indices, (ceil(N / R),) long."""
        total = len(self.dataset)  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(total, generator=generator) if self.shuffle else torch.arange(total)
        return order.repeat(1 + (self.total_size - 1) // total)[self.rank : self.total_size : self.num_replicas]

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices().tolist())

    def batches(self, size: int, device: torch.device | None = None) -> list[Tensor]:
        """This epoch's indices on ``device``, ``size`` at a time; the last two batches share what is left at the end.

        A small rest by itself would do harm: Adam takes the noise of a few samples for a large step, and that right
        before the epoch is measured.
        """
        batches = list(self.indices().to(device).split(size))  # moved once, not batch by batch
        if len(batches) > 1:
            batches[-2:] = torch.cat(batches[-2:]).tensor_split(2)
        return batches

    def batch_seed(self, position: int) -> int:
        """Seed for what is random in this epoch's batch number ``position`` on this rank."""
        return hash((self.seed, self.epoch, position, self.rank)) % 2**63


class Resumable:
    """Position within the epoch as a loader's state, in the form that Lightning stores and restores."""

    _start = 0  # batches to skip in the next iteration
    _position = 0  # batches given out in this one

    def state_dict(self) -> dict[str, Any]:
        """The number of batches that were given out in this epoch."""
        return {"position": self._position % max(1, len(self))}  # type: ignore[arg-type]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next iteration after as many batches as a ``state_dict`` says."""
        self._start = state["position"]

    def _take_start(self) -> int:
        start, self._start = self._start, 0
        self._position = start
        return start


class TensorLoader(Resumable):
    """Batches from tensors that are already in memory: one ``index_select`` a tensor, nothing a sample.

    Args:
        tensors: Tensors by name, all of one length N.
        batch_size: Samples in a batch, B; the last two of an epoch may be smaller, half of it at least.
        sampler: Sampler that gives the order.

    Yields:
        {name: (B, ...)}, ``index`` (B,) long, the samples' indices, and ``seed``, an int for the batch's augmentation.
    """

    def __init__(self, tensors: dict[str, Tensor], batch_size: int, sampler: ShardedSampler) -> None:
        self.tensors = tensors
        self.batch_size = batch_size
        self.batch_sampler = None  # Lightning asks every loader that has a sampler
        self.sampler = sampler

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        start = self._take_start()
        device = next(iter(self.tensors.values())).device
        chunks = self.sampler.batches(self.batch_size, device)
        for position in range(start, len(chunks)):
            self._position = position + 1
            batch = {name: t.index_select(0, chunks[position]) for name, t in self.tensors.items()}
            yield {**batch, INDEX: chunks[position], SEED: self.sampler.batch_seed(position)}


class _Batches:
    """Lists of indices, each led by the batch's seed, from a given batch on."""

    def __init__(self, sampler: ShardedSampler, batch_size: int) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.start = 0

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        chunks = self.sampler.batches(self.batch_size)
        for position in range(self.start, len(chunks)):
            yield [self.sampler.batch_seed(position), *chunks[position].tolist()]


class _WholeBatches:
    """A dataset as ``DataLoader`` wants it, over one that reads a whole batch: ``read(indices) -> dict``."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, seed_and_indices: list[int]) -> dict[str, Any]:
        seed, *indices = seed_and_indices
        return {**self.source.read(indices), SEED: seed}


def _same(batch: Any) -> Any:
    return batch


class StreamLoader(Resumable):
    """Batches that worker processes read from ``source`` as they are needed.

    Not itself a ``DataLoader``: Lightning would make another of it, with its own sampler, to predict and under DDP.

    Args:
        source: Dataset with a length and ``read(indices) -> {name: (B, ...)}``.
        batch_size: Samples in a batch, B; the last two of an epoch may be smaller, half of it at least.
        sampler: Sampler that gives the order.
        num_workers: Number of processes that read; 0 reads in this one.

    Yields:
        what ``TensorLoader`` does.
    """

    def __init__(self, source: Any, batch_size: int, sampler: ShardedSampler, num_workers: int) -> None:
        self.batch_sampler = None  # Lightning asks every loader that has a sampler
        self.sampler = sampler
        self._batches = _Batches(sampler, batch_size)
        self._loader: DataLoader[Any] = DataLoader(
            _WholeBatches(source),  # type: ignore[arg-type]
            batch_sampler=self._batches,  # type: ignore[arg-type]
            collate_fn=_same,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        self._batches.start = self._take_start()
        for batch in self._loader:
            self._position += 1
            yield batch

    @property
    def _iterator(self) -> Any:
        """Through which Lightning ends the workers when it is done with a loader."""
        return self._loader._iterator

    @_iterator.setter
    def _iterator(self, value: Any) -> None:
        self._loader._iterator = value
