"""Contrastive distillation's layers beside student and teacher: projections to a common space, and a memory bank."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.distributed import gather_rows, several_processes
from zoo.functional.distill import contrast_scores, crd_loss
from zoo.functional.precision import full_precision, never_narrower
from zoo.networks.precision import FullPrecisionBuffers, cast_like


class ContrastMemory(FullPrecisionBuffers):
    """CRD (Tian et al. 2020): a sample's features by student and teacher are contrasted with other samples'.

    Both are projected to the unit sphere in D dimensions; negatives are drawn from a memory bank, in which each
    sample's row is a moving average of its projections. The memory is neither parameter nor buffer, since DDP would
    overwrite it with the first process's; all processes' rows are written to all memories. It is part of the state.

    Args:
        student: Length of the student's feature vectors.
        teacher: Length of the teacher's feature vectors.
        dim: Dimension of the common space, D.
        negatives: Number of negatives drawn for each batch, K.
        temperature: Temperature of the products.
        momentum: Share of a memory's old row that is kept.

    ``forward`` takes features (B, student) and (B, teacher), and the samples' indices (B,) long, to the loss of both
    directions; while training it updates the memory with the batch.
    """

    constants: Tensor

    def __init__(
        self,
        student: int,
        teacher: int,
        dim: int = 128,
        negatives: int = 1024,
        temperature: float = 0.07,
        momentum: float = 0.5,
    ) -> None:
        super().__init__()
        self.student, self.teacher = nn.Linear(student, dim), nn.Linear(teacher, dim)
        self.dim, self.negatives, self.temperature, self.momentum = dim, negatives, temperature, momentum
        self.memory = torch.empty(2, 0, dim)  # the student's rows and the teacher's
        self.register_buffer("constants", torch.zeros(2))  # N times the mean score, of the first batch

    def allocate(self, samples: int, seed: int = 0) -> None:
        """Initialise rows for so many samples at random, unless there are as many already."""
        if self.memory.shape[1] != samples:
            rows = torch.randn(2, samples, self.dim, generator=torch.Generator().manual_seed(seed))
            self.memory = F.normalize(rows, dim=2).to(self.constants.device)
            self.constants.zero_()

    def forward(self, student: Tensor, teacher: Tensor, index: Tensor) -> Tensor:
        samples = self.memory.shape[1]
        chosen = torch.randint(samples, (self.negatives,), device=index.device)
        sides = ((self.student, student), (self.teacher, teacher))
        own = [F.normalize(full_precision(layer(cast_like(x, layer)))) for layer, x in sides]
        losses = []
        for side, anchors in enumerate(own):
            others = self.memory[1 - side]
            scores = contrast_scores(anchors, others[index], others[chosen], self.temperature)
            constant = torch.where(self.constants[side] > 0, self.constants[side], scores.detach().mean() * samples)
            if self.training:
                self.constants[side] = constant
            losses.append(crd_loss(scores, constant, samples))
        if self.training:
            self._remember(index, torch.stack(own).detach())
        return losses[0] + losses[1]

    def _remember(self, index: Tensor, rows: Tensor) -> None:
        if several_processes():
            world = torch.distributed.get_world_size()
            index = gather_rows(index, world, equal=True)
            rows = gather_rows(rows.transpose(0, 1), world, equal=True).transpose(0, 1)
        self.memory[:, index] = F.normalize(torch.lerp(rows, self.memory[:, index], self.momentum), dim=2)

    def get_extra_state(self) -> Tensor:
        """The memory bank, (2, N, D)."""
        return self.memory

    def set_extra_state(self, state: Any) -> None:
        """Load a memory bank of any number of samples."""
        self.memory = state.to(self.constants.device)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        super()._apply(fn, recurse)
        self.memory = never_narrower(fn)(self.memory)
        return self
