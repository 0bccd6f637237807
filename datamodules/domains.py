"""Two domains at once: a labelled source, and a target whose labels are for testing only."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor

from datamodules.base import SplitDataModule
from datamodules.folder import Folder
from datamodules.image_base import ImageData
from datamodules.images import MNIST, Digits
from datamodules.loader import Resumable, TensorLoader
from datamodules.mnist_m import MNISTM, DigitsM
from zoo.core.arguments import at_least
from zoo.core.batch import INPUT, SEED, TARGET


class PairLoader(Resumable):
    """The source's batches, each with as many images of the target as ``target``.

    The target has an order of its own, which goes on where the source begins anew; what it is follows from epoch and
    position, so that a resumed run has the same pairs.

    Args:
        source: Loader of the source, from memory.
        target: Loader of the target, likewise, of the same batch size.
    """

    def __init__(self, source: TensorLoader, target: TensorLoader) -> None:
        self.source, self.target = source, target
        self.batch_sampler = None  # Lightning asks every loader that has a sampler
        self.sampler = source.sampler

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        start = self._take_start()
        self.source.load_state_dict({"position": start})
        first = self.sampler.epoch * len(self)
        for position, batch in enumerate(self.source, start):
            self._position = position + 1
            yield {**batch, TARGET: self._target(first + position, len(batch[INPUT]))}

    def _target(self, number: int, count: int) -> Tensor:
        """As many images as the source's batch has, from the position where batch ``number`` begins."""
        sampler, images = self.target.sampler, self.target.tensors[INPUT]
        size = len(sampler)
        epoch, begin = divmod(number * self.target.batch_size, size)
        if sampler.epoch != epoch or self._order is None:
            sampler.set_epoch(epoch)
            self._order = sampler.indices().to(images.device)
        indices = self._order[begin : begin + count]
        if len(indices) < count:  # the order ends here: what is missing is taken from its beginning
            indices = self._order.repeat(2 + count // size)[begin : begin + count]
        return images.index_select(0, indices)

    _order: Tensor | None = None


class Domains(SplitDataModule):
    """Training batches ``{"input": (B, C, H, W), "label": (B,), "target": (B, C, H, W)}``: ``target`` is of the other
    domain, and its labels are never seen. Validation is on the source, so that no choice is made by the target's
    labels; testing is on the target.

    Args:
        source: Labelled domain: "digits", "digits_m", "mnist", "mnist_m" (``_m``: blended with photographs), or a
            folder of images.
        target: Other domain, likewise, with the same classes; its labels are for testing alone.
        root: Folder of the named sets that are not bundled.
        photographs: Folder of what ``_m`` is blended with, see ``DigitsM``.
        size: Height and width of images from folders.
        validate_on: Domain of the validation: "source", or "target", whose labels then choose the best checkpoint,
            which is not adaptation without labels any more, and good for comparison alone.
        batch_size: Samples of each domain in a batch on each rank, B.
        shift: Pixels by which training images are shifted at most, in both directions.
        flip: Whether training images are mirrored left to right by chance.
        val_fraction: Share of the training images set aside for validation.
        seed: Seed of orders, augmentation and splitting.

    Raises:
        ValueError: an argument out of its range; domains of other sizes or classes.
        FileNotFoundError: there is no such folder.
    """

    def __init__(
        self,
        source: str = "digits",
        target: str = "digits_m",
        root: str = "data",
        photographs: str = "",
        size: int = 32,
        validate_on: Literal["source", "target"] = "source",
        batch_size: int = 64,
        shift: int = 0,
        flip: bool = False,
        val_fraction: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        at_least(1, size=size)
        options: dict[str, Any] = {"batch_size": batch_size, "shift": shift, "flip": flip, "seed": seed}
        options["val_fraction"] = val_fraction
        makers: dict[str, Any] = {
            "digits": lambda: Digits(**options),
            "digits_m": lambda: DigitsM(photographs, **options),
            "mnist": lambda: MNIST(root, **options),
            "mnist_m": lambda: MNISTM(root, photographs, **options),
        }
        self.source, self.target = (
            makers.get(
                name, lambda name=name: Folder(name, size, in_memory=True, crop_scale=1.0, few_labels=0, **options)
            )()
            for name in (source, target)
        )
        self.validate_on = validate_on
        self.target_name = Path(target).name  # for results

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(C, H, W); grey images have as many channels as the other domain's."""
        shapes = [self.source.input_shape, self.target.input_shape]
        if shapes[0][1:] != shapes[1][1:]:
            raise ValueError(
                f"the source has images of {shapes[0]}, the target of {shapes[1]}: they must be of one size"
            )
        return max(shapes)

    @property
    def class_names(self) -> list[str]:
        """Names of the source's classes, in the order of their numbers."""
        return self.source.class_names

    @property
    def num_classes(self) -> int | None:
        """Number of the source's classes; None without labels."""
        return self.source.num_classes

    task = "classification"
    normalisation = None
    renamed: ClassVar = {"crop": "shift"}

    @property
    def fingerprint(self) -> str:
        """Digests of both domains, one after the other."""
        return f"{self.source.fingerprint}{self.target.fingerprint}"

    @property
    def test_is_validation(self) -> bool:
        """Whether both are on the same images of the target."""
        return self.validate_on == "target" and self.target.test_is_validation

    def state_dict(self) -> dict[str, Any]:
        """What each domain has to remember, see ``Folder.state_dict``."""
        states = {"source": self.source.state_dict(), "target": self.target.state_dict()}
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Give each domain its own state back."""
        for name, state in state_dict.items():
            getattr(self, name).load_state_dict(state)

    def __copy__(self) -> "Domains":
        """With domains of its own: they know the trainer, and a copy may be another's."""
        found = object.__new__(type(self))
        found.__dict__.update(self.__dict__, source=copy.copy(self.source), target=copy.copy(self.target))
        return found

    def prepare_data(self) -> None:
        for domain in (self.source, self.target):
            domain.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        for domain in (self.source, self.target):
            domain.trainer = self.trainer
            domain.setup(stage)
        names = [domain.class_names for domain in (self.source, self.target)]
        if names[1] and names[0] != names[1]:
            raise ValueError(f"the source has classes {', '.join(names[0])}, the target {', '.join(names[1])}")

    def _loader(self, split: str, shuffle: bool = False) -> Any:
        if split == "train":
            return PairLoader(self._of(self.source, "train", shuffle), self._of(self.target, "train", shuffle))
        on_target = split in ("test", "predict") or self.validate_on == "target"
        return self._of(self.target if on_target else self.source, split, shuffle)

    @staticmethod
    def _of(domain: ImageData, split: str, shuffle: bool) -> Any:
        return domain._loader(split, shuffle)

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Both domains to floats in [0, 1], augmented while training, with as many channels."""
        batch = dict(batch)
        target = batch.pop(TARGET, None)
        found = self._floats(self.source, batch)
        if target is not None:
            other = {INPUT: target, SEED: batch[SEED] + 1}
            found[TARGET] = self._floats(self.target, other)[INPUT]
        return found

    def _floats(self, domain: ImageData, batch: dict[str, Any]) -> dict[str, Any]:
        found = domain.on_after_batch_transfer(batch, 0)
        return {**found, INPUT: found[INPUT].expand(-1, self.input_shape[0], -1, -1)}
