"""Real pictures as a scorer sees them, gathered from batches and processes."""

from collections.abc import Sequence
from typing import NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor

from callbacks.common import gather
from callbacks.figures import class_labels
from callbacks.samples.draw import to_bytes
from callbacks.samples.feature_extractor import small
from callbacks.samples.feature_extractor_store import Scorer

Part = tuple[Tensor, Tensor | None, Tensor]  # a batch as ``Looked``, the features perhaps still missing


class Looked(NamedTuple):
    """Pictures of all processes, on the device, in an order of no meaning."""

    pictures: Tensor  # (N, C, H, W) uint8, no side longer than 32
    features: Tensor  # (N, D)
    labels: Tensor  # (N,) long, -1 for unlabelled


def look(trainer: pl.Trainer, batch: dict[str, Tensor], scorer: Scorer | None) -> Part:
    """A batch's ``input`` (B, C, H, W), and ``label`` (B,) long where there is one, on the device for scoring."""
    device = scoring_device(trainer)
    pictures = to_bytes(batch["input"], trainer).to(device)
    return small(pictures), scorer(pictures) if scorer else None, class_labels(batch).to(device)


def shuffled(trainer: pl.Trainer, parts: Sequence[Part]) -> Looked:
    """All processes' parts in one random order, always the same: loaders often go class by class."""
    whole = [gather(trainer, torch.cat(list(part))) for part in zip(*parts, strict=True)]  # type: ignore[arg-type]
    order = torch.randperm(len(whole[0]), generator=torch.Generator().manual_seed(0)).to(whole[0].device)
    return Looked(*(x[order] for x in whole))


def scoring_device(trainer: pl.Trainer) -> torch.device:
    """The model's, or the CPU where that has no float64."""
    device = trainer.strategy.root_device
    return torch.device("cpu") if device.type == "mps" else device
