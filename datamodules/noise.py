"""Images of nothing but noise: data of which everything is known."""

import hashlib
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from datamodules.base import SplitDataModule
from datamodules.loader import ShardedSampler, TensorLoader
from zoo.core.arguments import at_least
from zoo.core.batch import INDEX, INPUT
from zoo.functional.priors import prior
from zoo.functional.randomness import counter_based_uniform

_SPLITS = ("train", "val", "test")
_NUMBER = "number"  # in batches on their way to the device
_HELD_OUT = 0.1  # images for validation, and for testing, for each one to train on
_AT_ONCE = 1 << 18  # numbers made together: what lies between, several times 8 bytes each, stays in a processor's cache
_REACH = 4  # deviations from the mean at which images of unbounded noise are black and white


class Noise(SplitDataModule):
    """Noise in batches ``{"input": (B, C, H, W) float32}``, without labels.

    An image is a function of ``seed``, its split (train, val, test) and its number in that, and is made on the device
    when it is used. So none is kept in memory, and batch size, order, ranks and the number of samples change no
    image. Values are what the kind gives; nothing is clipped.

    Args:
        kind: Kind of noise, one of the eleven in ``zoo.functional.priors``.
        options: Options of that kind, by name.
        shape: Shape of an image, (C, H, W).
        samples: Number of images to train on; a tenth as many each are for validation and testing.
        batch_size: Images in a batch on each rank, B.
        seed: Seed of the images and of shuffling.

    Raises:
        ValueError: an unknown kind or option, an argument out of its range, a shape that does not fit the kind.
    """

    num_classes = None

    unchecked_options = ("options",)  # a bound may be infinite

    def __init__(
        self,
        kind: str = "uniform_01",
        options: dict[str, Any] | None = None,
        shape: Sequence[int] = (3, 100, 100),
        samples: int = 5000,
        batch_size: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape must be (channels, height, width), each 1 or more; got {tuple(shape)}")
        at_least(1, samples=samples, batch_size=batch_size)
        self.kind, self.options = kind, dict(options or {})
        self.input_shape = tuple(shape)
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.prior = prior(kind, **self.options)
        self.prior.quantile(torch.full((1, shape[0], 1, 1), 0.5))  # a shape that does not fit is said now

    def __str__(self) -> str:
        return f"{self.samples} images {self.input_shape} of noise {self.kind!r} {self.options}, seed {self.seed}"

    @property
    def normalisation(self) -> dict[str, list[float]] | None:
        """What would make these values of pixels in [0, 1]: black is the least value, white the greatest, 4 deviations
        from the mean where there is none; None where values are in [0, 1] as they are."""
        one_hot = {"classes": self.input_shape[0]} if self.kind == "one_hot" else {}
        (low, high), mean, variance = prior(self.kind, **{**self.options, **one_hot}).moments()
        reach = _REACH * math.sqrt(variance)
        low, high = (mean - reach if math.isinf(low) else low), (mean + reach if math.isinf(high) else high)
        if (low >= 0 and high <= 1) or low == high:
            return None
        channels = self.input_shape[0]
        return {"mean": [-low / (high - low)] * channels, "std": [1 / (high - low)] * channels}

    @property
    def fingerprint(self) -> str:
        """Digest of all that determines the images."""
        return self._digest(self.kind, sorted(self.options.items()), self.input_shape, self.samples, self.seed).hex()

    @cached_property
    def _start(self) -> int:
        return int.from_bytes(self._digest(self.seed), "little", signed=True)

    @staticmethod
    def _digest(*what: Any) -> bytes:
        return hashlib.blake2b(repr(what).encode(), digest_size=8).digest()

    def images(self, numbers: Tensor) -> Tensor:
        """Images by number: (B,) int64 to (B, C, H, W) float32 on the same device. Training images have the numbers
        0, 3, 6 and so on, those for validation 1, 4, 7, those for testing 2, 5, 8."""
        size = math.prod(self.input_shape)
        within = torch.arange(size, device=numbers.device)

        def few(numbers: Tensor) -> Tensor:
            u = counter_based_uniform(self._start, numbers.unsqueeze(1) * size + within)
            return self.prior.quantile(u.view(-1, *self.input_shape)).float()

        return torch.cat([few(some) for some in numbers.split(max(1, _AT_ONCE // size))])

    pictures = images  # its old name, for one release

    def _loader(self, split: str, shuffle: bool = False) -> TensorLoader:
        count = self.samples if split == "train" else max(1, round(self.samples * _HELD_OUT))
        numbers = torch.arange(count) * len(_SPLITS) + _SPLITS.index("test" if split == "predict" else split)
        sampler = ShardedSampler(numbers, *self._rank_and_world_size(), shuffle, self.seed)  # type: ignore[arg-type]
        return TensorLoader({_NUMBER: numbers}, self.batch_size, sampler)

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Tensor]:
        """Numbers to images, as one batch on the device."""
        return {INPUT: self.images(batch[_NUMBER]), INDEX: batch[INDEX]}
