"""Sums over training batches: what a technique without gradients learns from."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from torch import Tensor

Sums = TypeVar("Sums", bound=tuple[Tensor, ...])  # a NamedTuple of tensors


class Accumulator(Generic[Sums]):
    """Sums that grow batch by batch, are added over the ranks when they are needed, and survive in a checkpoint that is
    written in the middle of an epoch.

    They are no buffers, which DDP would overwrite with the first rank's.

    Args:
        add: Sums of two sets of samples, from those of each.
        summed: Names of the fields that add up over ranks; the others are alike on all.
        align: Makes the ranks' sums such that they add up, as copies; None copies them.
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
        """Begin anew."""
        self.sums = None

    def decay(self, share: float) -> None:
        """Keep this share of all that was added so far."""
        if self.sums is not None:
            self.sums = self.sums._replace(**{n: getattr(self.sums, n) * share for n in self._summed})  # type: ignore[attr-defined]

    def reduced(self, trainer: Any) -> Sums:
        """The sums over all ranks; all must ask together. This rank keeps its own."""
        sums: Any = self.sums
        if trainer.world_size == 1:
            return sums  # type: ignore[no-any-return]
        # Copies: Lightning reduces in place.
        sums = self._align(sums) if self._align else type(sums)(*(tensor.clone() for tensor in sums))
        add = trainer.strategy.reduce
        return sums._replace(**{name: add(getattr(sums, name), reduce_op="sum") for name in self._summed})  # type: ignore[no-any-return]

    def restore(self, sums: Sums | None, first: bool, empty: Callable[[Sums], Sums | None] = lambda sums: None) -> None:
        """Go on with the sums of all ranks from a checkpoint: the first rank has them now.

        Args:
            sums: From the checkpoint; None where it was written between epochs.
            first: Whether this is the first rank.
            empty: Gives the other ranks' sums.
        """
        self.sums = sums if first or sums is None else empty(sums)
