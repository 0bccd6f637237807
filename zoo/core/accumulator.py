"""Sums over training batches: what a technique without gradients learns from."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from torch import Tensor

Sums = TypeVar("Sums", bound=tuple[Tensor, ...])  # a NamedTuple of tensors


class Accumulator(Generic[Sums]):
    """Sums that grow batch by batch, are reduced over the ranks when they are needed, and are restored from a
    checkpoint that is written in the middle of an epoch.

    They are no buffers, which DDP would overwrite with the first rank's.

    Args:
        add: Function that merges the sums of two sets of samples.
        summed: Names of the fields that are summed over ranks; the others are the same on all.
        align: Function that copies the ranks' sums into a form that can be added; None copies them as they are.
    """

    def __init__(
        self,
        add: Callable[[Sums, Sums], Sums],
        summed: tuple[str, ...],
        align: Callable[[Sums], Sums] | None = None,
    ) -> None:
        self._add, self._summed, self._align = add, summed, align
        self.sums: Sums | None = None

    def add(self, block: Sums) -> None:
        """Add a batch's sums."""
        self.sums = block if self.sums is None else self._add(self.sums, block)

    def clear(self) -> None:
        """Drop all sums."""
        self.sums = None

    def decay(self, share: float) -> None:
        """Keep this share of all that was added so far."""
        if self.sums is not None:
            self.sums = self.sums._replace(**{n: getattr(self.sums, n) * share for n in self._summed})  # type: ignore[attr-defined]

    def reduced(self, trainer: Any) -> Sums:
        """The sums over all ranks, a collective call; this rank keeps its own."""
        sums: Any = self.sums
        if trainer.world_size == 1:
            return sums  # type: ignore[no-any-return]
        # Copies: Lightning reduces in place.
        sums = self._align(sums) if self._align else type(sums)(*(tensor.clone() for tensor in sums))
        add = trainer.strategy.reduce
        return sums._replace(**{name: add(getattr(sums, name), reduce_op="sum") for name in self._summed})  # type: ignore[no-any-return]

    def restore(self, sums: Sums | None, first: bool, empty: Callable[[Sums], Sums | None] = lambda sums: None) -> None:
        """Go on with a checkpoint's sums of all ranks, which the first rank takes.

        Args:
            sums: Sums in the checkpoint; None if it was written between epochs.
            first: Whether this is the first rank.
            empty: Function that gives the other ranks' initial sums.
        """
        self.sums = sums if first or sums is None else empty(sums)
