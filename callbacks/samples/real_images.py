"""Real images and their features, gathered from batches and processes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor

from callbacks.samples.draw import to_uint8
from callbacks.samples.feature_extractor import downscale
from callbacks.samples.feature_extractor_store import FeatureExtractor
from zoo.core.batch import INPUT, class_labels
from zoo.core.distributed import gather_rows

PartialBatch = tuple[Tensor, Tensor | None, Tensor]  # a batch as ``ImageFeatures``, the features perhaps still missing


class ImageFeatures(NamedTuple):
    """Images of all processes, on the device, in an order of no meaning."""

    images: Tensor  # (N, C, H, W) uint8, no side longer than 32
    features: Tensor  # (N, D)
    labels: Tensor  # (N,) long, -1 for unlabelled


def extract(
    trainer: pl.Trainer, batch: Mapping[str, Any], extractor: FeatureExtractor | None, input_key: str = INPUT
) -> PartialBatch:
    """A batch's images, their features and their labels, on the device for scoring.

    Args:
        trainer: Trainer at work.
        batch: Images (B, C, H, W), and ``label`` (B,) long where there is one.
        extractor: Network that gives features; None leaves them out.
        input_key: Key of the images.
    """
    device = extraction_device(trainer)
    images = to_uint8(batch[input_key], trainer).to(device)
    features = extractor(images) if extractor else None
    return downscale(images), features, class_labels(batch, input_key).to(device)


def shuffled(trainer: pl.Trainer, parts: Sequence[PartialBatch]) -> ImageFeatures:
    """All processes' parts in one random order, always the same: loaders often go class by class."""
    ranks = trainer.world_size
    whole = [gather_rows(torch.cat(list(part)), ranks) for part in zip(*parts, strict=True)]  # type: ignore[arg-type]
    order = torch.randperm(len(whole[0]), generator=torch.Generator().manual_seed(0)).to(whole[0].device)
    return ImageFeatures(*(x[order] for x in whole))


def extraction_device(trainer: pl.Trainer) -> torch.device:
    """The model's device, or the CPU where that has no float64."""
    device = trainer.strategy.root_device
    return torch.device("cpu") if device.type == "mps" else device
