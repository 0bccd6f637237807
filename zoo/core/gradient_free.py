"""The base of modules that learn without gradients (PCA, self-organising map): a step that Lightning can count."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from zoo.core.base import ZooModule
from zoo.functional.precision import never_narrower


class GradientFreeModule(ZooModule):
    """A module that accumulates sums in ``loss`` while training, and keeps what it learns in buffers and frozen
    parameters.

    Lightning counts steps, logs, writes checkpoints and resumes by its optimiser. So there is one, of a single scalar
    that never changes: clipping, accumulation, mixed precision, DDP and the rest work as for any other module.
    """

    stops_early = False  # the length is part of what is learned: one pass, or a neighbourhood that shrinks to the end

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """What was found keeps its bits, whatever the trainer's precision is."""
        return super()._apply(never_narrower(fn), recurse)

    @property
    def training_summary(self) -> str:
        """Says that no parameters learn by gradients."""
        return "no gradients"

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        with torch.no_grad():
            loss = super().training_step(batch, batch_idx)
        return loss.detach() + 0 * self.anchor

    def configure_optimizers(self) -> Any:
        return SGD([self.anchor], lr=0.0)
