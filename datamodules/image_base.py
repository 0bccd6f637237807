"""What all sources of images share: splits, label budgets, loaders, and the work on whole batches on the device."""

import copy
import hashlib
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Generator, Tensor

from datamodules.augment import random_flip, random_jitter, random_resized_crop, random_rotation, random_shift
from datamodules.base import SplitDataModule
from datamodules.label_budget import check_options, stratified_split, subsample_labels
from datamodules.loader import ShardedSampler, StreamLoader, TensorLoader
from zoo.core.arguments import at_least, between, more_than
from zoo.core.batch import INPUT, LABEL, SEED
from zoo.core.counts import count_labelled
from zoo.functional.finetune import Task
from zoo.functional.normalisation import normalise

_FITS_ON_DEVICE = 2 * 2**30  # bytes: more than this stays in the computer's memory


class Split(NamedTuple):
    """Images (N, C, H, W) uint8, or a source that reads them in batches, and labels (N,) long or None."""

    images: Any
    labels: Tensor | None


def draw_binary(images: Tensor, generator: Generator) -> Tensor:
    """uint8 images (N, ...) to 0 and 255, each pixel by chance with its grey as probability."""
    drawn = [(some / 255).bernoulli(generator=generator) for some in images.split(1000)]
    return torch.cat(drawn).mul_(255).to(torch.uint8)


def _content(images: Any) -> bytes:
    """What images are, or what is known of them without reading them all."""
    if isinstance(images, Tensor):
        return f" {tuple(images.shape)}".encode() + images.numpy().tobytes()
    return f" {len(images)}".encode() + images.identity()


_SAMPLE_OFFSET = 0.05  # so that the noise of an empty image is not blown up


class ImageData(SplitDataModule):
    """Images in batches ``{"input": (B, C, H, W) float, "label": (B,) long}``; a label of -1 means unlabelled.

    A subclass defines ``read() -> {"train" | "val" | "test": Split}``, ``input_shape``, ``class_names`` (in the order
    of their numbers; empty without labels) and the pixels' ``mean`` and ``std``.

    Args:
        batch_size: Samples in a batch on each rank, B.
        binarise: Rule for black and white: "threshold" at one half; "static" draws each pixel once, its grey the
            probability; "dynamic" draws training images anew at every use and the others once (Burda et al. 2016).
        normalise: Scale of the pixels: "unit" leaves them in [0, 1]; "standard" subtracts the mean and divides by the
            standard deviation; "sample" does so for each image with its own (contrast normalisation, Coates et al.
            2011).
        shift: Pixels by which training images are shifted at most, in both directions.
        flip: Whether training images are mirrored left to right by chance.
        crop_scale: Least share of the area that a random resized crop of training images keeps; 1 crops nothing.
        rotate: Degrees by which training images are turned at most, to either side.
        jitter: Share by which training images' contrast and brightness vary at most, 0 to 1.
        labels_per_class: Training labels that are kept of each class, the others forgotten; None keeps all.
        label_seed: Seed of the choice of labels.
        labelled_only: Whether to train on the labelled samples alone; otherwise the unlabelled ones take part.
        val_fraction: Share of the training images set aside for validation where the source has no such split.
        augmentation_period: Epochs after which order and augmentation begin again, so that what is kept about each
            augmented image (a teacher's outputs) is true again; None never repeats.
        seed: Seed of shuffling, augmentation and splitting.

    Raises:
        ValueError: an argument out of its range.
    """

    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    input_shape: tuple[int, ...]
    class_names: list[str]
    task: Task = "classification"
    mirrored: bool | None = None  # whether a mirrored image is still of its class; None where that is not known
    num_workers = 0
    renamed: ClassVar = {"crop": "shift", "views": "augmentation_period"}

    def __init__(
        self,
        batch_size: int = 128,
        binarise: Literal["none", "threshold", "static", "dynamic"] = "none",
        normalise: Literal["unit", "standard", "sample"] = "unit",
        shift: int = 0,
        flip: bool = False,
        crop_scale: float = 1.0,
        rotate: float = 0.0,
        jitter: float = 0.0,
        labels_per_class: int | None = None,
        label_seed: int = 0,
        labelled_only: bool = False,
        val_fraction: float = 0.1,
        augmentation_period: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        between(0, 1, jitter=jitter)
        between(0, 180, rotate=rotate)
        at_least(0, shift=shift)
        between(0, 1, crop_scale=crop_scale)
        more_than(0, crop_scale=crop_scale)
        if augmentation_period is not None:
            at_least(1, augmentation_period=augmentation_period)
        check_options(batch_size, val_fraction, labels_per_class, labelled_only)
        self.batch_size, self.binarise, self.normalise = batch_size, binarise, normalise
        self.shift, self.flip, self.rotate, self.jitter = shift, flip, rotate, jitter
        self.crop_scale = crop_scale
        self.labels_per_class, self.label_seed, self.labelled_only = labels_per_class, label_seed, labelled_only
        self.val_fraction, self.augmentation_period, self.seed = val_fraction, augmentation_period, seed
        self.splits: dict[str, Split] = {}

    def read(self) -> dict[str, Split]:
        """All splits of the source; a subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} must define read() -> {{'train': Split, ...}}")

    @property
    def num_classes(self) -> int | None:
        """Number of classes; None without labels."""
        return len(self.class_names) or None

    @property
    def num_labelled(self) -> int:
        """Number of training images with a label."""
        return count_labelled(self.splits["train"].labels) if "train" in self.splits else 0

    @property
    def normalisation(self) -> dict[str, Any] | None:
        """What is done to pixels in [0, 1], see ``zoo.functional.normalisation``; None where nothing is done."""
        if self.normalise == "sample":
            return {"sample_offset": _SAMPLE_OFFSET}
        return {"mean": list(self.mean), "std": list(self.std)} if self.normalise == "standard" else None

    @property
    def fingerprint(self) -> str:
        """Digest of all images and labels as they are used; the same data under the same options have the same."""
        digest = hashlib.sha256()
        for name, (images, labels) in sorted(self.splits.items()):
            digest.update(name.encode() + _content(images))
            digest.update(b"" if labels is None else labels.numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def augmentation_signature(self) -> dict[str, Any]:
        """What decides the training inputs, for whoever keeps something about each: ``samples``, their number;
        ``augmentation_period``, in how many forms each comes (None: always new ones); ``data`` and ``augmentation``:
        with the same, image number i in round r of augmentation is the same."""
        images, used = self.splits["train"].images, {"binarise": self.binarise, "normalise": self.normalise}
        # Their keys are those of folders of teachers' outputs, and stay as they were.
        changes = {"crop": self.shift, "flip": self.flip, "rotate": self.rotate, "jitter": self.jitter}
        changes |= {"crop_scale": self.crop_scale} if self.crop_scale < 1 else {}
        moving = any(changes.values()) or self.binarise == "dynamic"
        order = {"seed": self.seed, "batch_size": self.batch_size, "views": self.augmentation_period}
        return {
            "samples": len(images),
            "augmentation_period": self.augmentation_period if moving else 1,
            "data": {"pictures": hashlib.sha256(_content(images)).hexdigest()[:16], **used},
            "augmentation": {**changes, **order} if moving else {},
        }

    def read_predict(self) -> Split:
        """What ``predict`` is about: the test images, unless the source has others."""
        return self.read()["test"]

    def read_new(self) -> Split:
        """The old name of ``read_predict``, for one release; a subclass's own is asked."""
        return self.read_predict()

    @property
    def names(self) -> list[str]:
        """Of the images that ``predict`` is about, in the order of their ``index``; empty where they have none."""
        return []

    def setup(self, stage: str | None = None) -> None:
        if stage == "predict":
            if "predict" not in self.splits:
                renamed = type(self).read_new is ImageData.read_new
                self.splits |= self._binarised({"predict": self.read_predict() if renamed else self.read_new()})
        elif "train" not in self.splits:
            self.splits |= self._binarised(self._with_budget(self.read()))

    def labels_of(self, split: str) -> Tensor | None:
        """Labels of a split's images, (N,) long or (N, K), in their order; None where there are none."""
        return self.splits[split].labels if split in self.splits else None

    def fold(self, train: Tensor, held_out: Tensor) -> Any:
        """These data with some of the training images to train on and others to predict, see ``SplitDataModule``."""
        images, labels = self.splits["train"]
        parts = {"train": train, "predict": held_out}
        other = copy.copy(self)
        other.splits = {
            name: Split(images[chosen], None if labels is None else labels[chosen]) for name, chosen in parts.items()
        }
        return other

    def with_validation_apart(self) -> Any:
        """These data; where validation is the test, with a part of the training images for validation instead."""
        if not self.test_is_validation:
            return self
        images, labels = self.splits["train"]
        strata = torch.zeros(len(images), dtype=torch.long) if labels is None else labels
        parts = zip(("train", "val"), stratified_split(strata, self.val_fraction, self.seed), strict=True)
        other = copy.copy(self)
        own = {name: Split(images[chosen], None if labels is None else labels[chosen]) for name, chosen in parts}
        other.splits = {**self.splits, **own}
        return other

    def without_labels(self) -> Any:
        """These data, whose training images have no labels."""
        other = copy.copy(self)
        other.splits = {**self.splits, "train": Split(self.splits["train"].images, None)}
        return other

    def digests(self, split: str) -> list[bytes]:
        """A digest of each of a split's images, see ``SplitDataModule``."""
        images = self.splits[split].images
        rows = images.flatten(1).numpy() if isinstance(images, Tensor) else images.contents()
        return [hashlib.blake2b(row, digest_size=16).digest() for row in rows]

    def _forget_splits(self) -> None:
        self.splits = {}

    def _with_budget(self, splits: dict[str, Split]) -> dict[str, Split]:
        if self.labels_per_class is None:
            return splits
        images, labels = splits["train"]
        if labels is None:
            raise ValueError("`data.labels_per_class` needs labels, and these images have none")
        labels = subsample_labels(labels, self.labels_per_class, self.label_seed)
        if self.labelled_only:
            kept = (labels >= 0).nonzero().squeeze(1)
            images, labels = images[kept], labels[kept]
        return {**splits, "train": Split(images, labels)}

    def _binarised(self, splits: dict[str, Split]) -> dict[str, Split]:
        """Images drawn once where the rule draws."""
        if self.binarise not in ("static", "dynamic"):
            return splits
        if not all(isinstance(split.images, Tensor) for split in splits.values()):
            raise ValueError(f"`data.binarise` {self.binarise!r} needs images kept in memory: use 'threshold'")
        generator = Generator().manual_seed(self.seed)
        names = [name for name in splits if not (name == "train" and self.binarise == "dynamic")]
        drawn = {name: Split(draw_binary(splits[name].images, generator), splits[name].labels) for name in names}
        return {**splits, **drawn}

    def _loader(self, split: str, shuffle: bool = False) -> TensorLoader | StreamLoader | list[Any]:
        if split not in self.splits:
            return []
        images, labels = self.splits[split]
        sampler = ShardedSampler(images, *self._rank_and_world_size(), shuffle, self.seed, self.augmentation_period)
        if not isinstance(images, Tensor):
            return StreamLoader(images, self.batch_size, sampler, self.num_workers)
        tensors = {INPUT: images} if labels is None else {INPUT: images, LABEL: labels}
        if self.trainer and images.nbytes <= _FITS_ON_DEVICE:
            tensors = {key: t.to(self.trainer.strategy.root_device) for key, t in tensors.items()}
        return TensorLoader(tensors, self.batch_size, sampler)

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """uint8 images to normalised floats, augmented while training, as one batch on the device."""
        x = batch[INPUT].float().mul_(1 / 255)
        if self.trainer is not None and self.trainer.training:
            x = self._augment(x, batch[SEED])
        if self.binarise == "threshold":
            x = (x >= 0.5).float()
        if self.binarise == "dynamic":  # what was drawn already is 0 or 1, and stays
            x = x.bernoulli(generator=Generator(x.device).manual_seed(batch[SEED] + 1))
        rest = {key: value for key, value in batch.items() if key not in (INPUT, SEED)}
        return {INPUT: normalise(x, self.normalisation), **rest}

    def _augment(self, x: Tensor, seed: int) -> Tensor:
        if not (self.shift or self.flip or self.rotate or self.jitter or self.crop_scale < 1):
            return x
        generator = Generator(x.device).manual_seed(seed)
        x = random_shift(x, self.shift, generator) if self.shift else x
        x = random_flip(x, generator) if self.flip else x
        x = random_resized_crop(x, self.crop_scale, generator) if self.crop_scale < 1 else x
        x = random_rotation(x, self.rotate, generator) if self.rotate else x
        return random_jitter(x, self.jitter, generator) if self.jitter else x
