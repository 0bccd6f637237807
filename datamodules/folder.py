"""Any folder of images: nested or flat, labelled by sub-folders or not at all, of any sizes and kinds."""

import math
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from datamodules.folder_images import ImageFiles, Unreadable, look_into
from datamodules.folder_labels import file_labels, folder_classes, folder_labels, label_file, with_training_names
from datamodules.folder_parts import Part, find_all, find_parts
from datamodules.image_base import ImageData, Split
from datamodules.image_listing import find_images, plain_text, shown
from datamodules.label_budget import FEW_LABELS, are_few, for_training, learns_from_labels, stratified_split, tell_few
from datamodules.label_file import LabelFile
from datamodules.value_range import Ranges
from zoo.core.arguments import at_least
from zoo.core.batch import INPUT
from zoo.core.gradient_free import GradientFreeModule
from zoo.functional.finetune import Task

__all__ = ["Folder", "ImageFiles", "find_images"]  # the latter two from where they were

_ORDER = ("train", "val", "test")  # training first: it decides what is black and what is white
_PHOTOGRAPH = 64  # pixels: images in colour of this size and more are taken for photographs
_CROP_SCALE = 0.6


def _ranges_in(state: dict[str, Any]) -> Ranges:
    """The values of black and white in a checkpoint's state of the data."""
    ranges = state.get("value_range") or {}
    try:
        return {str(kind): [float(low), float(high)] for kind, (low, high) in ranges.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"the checkpoint's `value_range` is no pair of numbers for each kind: {ranges!r}") from error


class Folder(ImageData):
    """Images under one folder.

    Sub-folders ``train``, ``val`` and ``test`` (also ``training``, ``valid``, ``validation``, ``testing``, in upper
    case or lower) are the splits where they exist (no ``test``: validation is used for it, and
    ``test_is_validation``); otherwise a tenth each is set aside for validation and testing. The first level of
    sub-folders names the classes; images beside each other without sub-folders are unlabelled. Linked folders are
    followed. What is left out is counted and said.

    Args:
        root: Path of the folder.
        size: Height and width that images get: shorter side resized, middle cropped.
        channels: Number of channels, 3 for colour, 1 for grey.
        labels: .csv file of paths relative to the root and their labels (see ``read_labels``), where sub-folders do
            not name the classes. Images that are not in it are unlabelled.
        task: Task of those labels: "classification"; "multilabel", several classes an image, labels (B, C) of 0
            and 1; or "regression", numbers (B, K); in both NaN means unlabelled.
        few_labels: Number of labels up to which a module that learns from them gets them all to train on: none is set
            aside for validation or testing, and a part ``val`` is for testing; 0 divides always.
        test_root: Path of another folder, all of whose images are for testing; classes are matched by name.
        test_labels: File of labels of the images under ``test_root``, where its sub-folders do not name the classes.
        value_range: Values that become black and white in images of more than 8 bits, [low, high]; None decides by
            all training images, and takes those of the checkpoint when testing or predicting.
        flip: Whether training images are mirrored left to right by chance; None does so to photographs, which is what
            images in colour of 64 pixels and more are taken for.
        crop_scale: Least share of the area that a random resized crop of training images keeps; 1 crops nothing; None
            is 0.6 for photographs.
        strict: Whether to stop at a file that cannot be read; otherwise it is left out, counted and named.
        in_memory: Whether to decode once and keep all; "auto" does so up to 2 GiB of pixels. Otherwise workers decode
            every epoch.
        num_workers: Processes (or threads, where kept in memory) that decode.
        options: Options of ``ImageData``.

    Raises:
        FileNotFoundError: no such folder, or no images in it.
        ValueError: an argument out of its range; a file that cannot be read, if ``strict``.
    """

    renamed: ClassVar = {"kind": "task"}
    unchecked_options = ("value_range",)  # it has a message of its own

    def __init__(
        self,
        root: str,
        size: int = 64,
        channels: Literal[1, 3] = 3,
        labels: str = "",
        task: Task = "classification",
        few_labels: int = FEW_LABELS,
        test_root: str = "",
        test_labels: str = "",
        value_range: list[float] | None = None,
        flip: bool | None = None,
        crop_scale: float | None = None,
        strict: bool = False,
        in_memory: bool | Literal["auto"] = "auto",
        num_workers: int = 2,
        **options: Any,
    ) -> None:
        photographs = channels == 3 and size >= _PHOTOGRAPH
        options["flip"] = photographs if flip is None else flip
        options["crop_scale"] = (_CROP_SCALE if photographs else 1.0) if crop_scale is None else crop_scale
        super().__init__(**options)
        self._by_default = {"flip": flip is None, "crop_scale": crop_scale is None}
        at_least(1, size=size)
        at_least(0, few_labels=few_labels, num_workers=num_workers)
        self.few_labels = few_labels
        self._undivided: dict[str, Split] = {}  # images of few labels, which are divided for some modules only
        self.labels, self.task, self.test_labels = labels, task, test_labels
        self.root, self.test_root = Path(root).expanduser(), Path(test_root).expanduser() if test_root else None
        self.size, self.channels, self.strict = size, channels, strict
        self.in_memory, self.num_workers, self.value_range = in_memory, num_workers, value_range
        # ImageNet's, as is customary: the true ones would need every image decoded first.
        self.mean, self.std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if channels == 3 else ((0.449,), (0.226,))
        self._check_options()
        self.ranges: Ranges = {} if value_range is None else {kind: list(value_range) for kind in ("integer", "float")}
        self._unreadable = Unreadable()
        self._predicted: list[Path] = []

    def _check_options(self) -> None:
        if self.task != "classification" and not self.labels:
            raise ValueError(f"`data.task` {self.task!r} needs a file of labels: `data.labels`")
        if self.task != "classification" and self.labels_per_class is not None:
            raise ValueError(f"`data.labels_per_class` is for classes; these labels are of a {self.task}")
        if self.test_labels and self.test_root is None:
            raise ValueError("`data.test_labels` is of the images under `data.test_root`: give that, too")
        if (pair := self.value_range) is not None and not (len(pair) == 2 and -math.inf < pair[0] < pair[1] < math.inf):
            raise ValueError(f"`data.value_range` is [black, white], two numbers, the first the smaller; got {pair}")

    @property
    def input_shape(self) -> tuple[int, int, int]:  # type: ignore[override]
        """Shape of an image, (channels, size, size)."""
        return (self.channels, self.size, self.size)

    @cached_property
    def _parts(self) -> dict[str, Part]:
        known = [Path(file).expanduser() for file in (self.labels, self.test_labels) if file]
        return find_parts(self.root, self.test_root, known)

    @property
    def files(self) -> dict[str, list[Path]]:
        """Paths of the images by split; one split, "train", where the folder is not divided."""
        return {split: part.paths for split, part in self._parts.items()}

    @property
    def parts(self) -> dict[str, list[Path]]:
        """The old name of ``files``, for one release."""
        return self.files

    @property
    def test_is_validation(self) -> bool:
        """Whether there is no separate test part, and the images that choose the best checkpoint are the test, too."""
        return "val" in self._parts and "test" not in self._parts and not self.all_labels_train

    @cached_property
    def _given(self) -> LabelFile | None:
        """What the file of labels says."""
        inside = [path for part in self._parts.values() if part.top != self.test_root for path in part.paths]
        return label_file(self.labels, self.task, self.root, inside) if self.labels else None

    @cached_property
    def class_names(self) -> list[str]:  # type: ignore[override]
        """Names of the classes in the order of their numbers; empty where there are none (a single sub-folder
        distinguishes nothing)."""
        return folder_classes(self._parts["train"]) if self._given is None else self._given.names

    def setup(self, stage: str | None = None) -> None:
        module = self.trainer.lightning_module if self.trainer is not None else None
        if isinstance(module, GradientFreeModule):  # which sums over the images as they are, unless told otherwise
            self.flip &= not self._by_default["flip"]
            self.crop_scale = 1.0 if self._by_default["crop_scale"] else self.crop_scale
        if self._undivided and stage == "fit" and learns_from_labels(self.trainer) != self.all_labels_train:
            self.splits = {name: split for name, split in self.splits.items() if name == "predict"}  # divide anew
        super().setup(stage)
        if self._undivided:
            tell_few(self, self._undivided["train"].labels, None if "test" in self._parts else stage)

    def read(self) -> dict[str, Split]:
        splits = self._undivided
        if not splits:
            found = {name: self._image_files(name) for name in sorted(self.files, key=_ORDER.index)}
            splits = {name: self._split(files) for name, files in found.items()}
            self._undivided = splits if are_few(splits["train"].labels, self.few_labels) else {}
        self.all_labels_train = bool(self._undivided) and learns_from_labels(self.trainer)
        return self._all_to_train(splits) if self.all_labels_train else self._divided(dict(splits))

    def _all_to_train(self, splits: dict[str, Split]) -> dict[str, Split]:
        images, labels = splits["train"]
        assert labels is not None
        kept = for_training(labels, self.trainer)
        test = splits.get("test", splits.get("val"))
        return {"train": Split(images[kept], labels[kept]), **({} if test is None else {"test": test})}

    def fold(self, train: Tensor, held_out: Tensor) -> Any:
        """As that of all images; it is not divided again."""
        other = super().fold(train, held_out)
        other._undivided = {}
        return other

    def _divided(self, splits: dict[str, Split]) -> dict[str, Split]:
        if "val" not in splits and "test" not in splits:
            splits["train"], splits["test"] = self._divide(splits["train"])
        if "val" not in splits:
            splits["train"], splits["val"] = self._divide(splits["train"])
        return {"test": splits["val"], **splits}

    def read_predict(self) -> Split:
        """All images under the root, whatever the folders they are in."""
        self._predicted = find_all(self.root)
        look_into(self._predicted, self.ranges, self.num_workers)
        files = ImageFiles(self._predicted, None, self.size, self.channels, self.strict, True, self.ranges)
        if not self._fits(len(files)):
            return Split(files, None)
        split, self._predicted = files.decode(self.num_workers, self._unreadable)
        return split

    @property
    def names(self) -> list[str]:
        """Paths of the files that are predicted."""
        return [plain_text(str(path)) for path in self._predicted]

    def state_dict(self) -> dict[str, Any]:
        """The values of black and white in images of more than 8 bits, which go into checkpoints."""
        return {"value_range": {kind: list(pair) for kind, pair in self.ranges.items()}} if self.ranges else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take black and white from a checkpoint, unless ``value_range`` was given; images are read again if they
        were read by others."""
        ranges = {**self.ranges, **_ranges_in(state_dict)}
        if self.value_range is None and ranges != self.ranges:
            self.ranges, stages = ranges, ["predict"] if "predict" in self.splits else []
            stages += [None] if "train" in self.splits else []  # type: ignore[list-item]
            self.splits.clear()
            self._undivided = {}
            for stage in stages:
                self.setup(stage)

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Say once of each file that a worker could not read it."""
        self._unreadable.report(batch.get("unreadable", []), len(batch[INPUT]))
        return {key: value for key, value in batch.items() if key != "unreadable"}

    def _image_files(self, split: str) -> ImageFiles:
        paths = self._parts[split].paths
        look_into(paths, self.ranges, self.num_workers, quiet=split != "train")
        return ImageFiles(paths, self._labels_of(split), self.size, self.channels, self.strict, False, self.ranges)

    def _labels_of(self, split: str) -> Tensor | None:
        part, names = self._parts[split], self.class_names
        apart = part.top == self.test_root
        if apart and self.test_labels:
            given = label_file(self.test_labels, self.task, part.top, part.paths, fewest=1)
            return with_training_names(file_labels(given, part.top, part.paths), given.names, names, self.test_labels)
        if self._given is not None and not apart:
            return file_labels(self._given, self.root, part.paths)
        if not names:
            return None
        labels = folder_labels(part, names) if self.task == "classification" else torch.empty(0)
        if apart and not (labels >= 0).any():
            raise ValueError(f"{shown(part.top)} has no sub-folders that name classes: give `data.test_labels`")
        return labels

    def _split(self, files: ImageFiles) -> Split:
        if self._fits(sum(map(len, self.files.values()))):
            return files.decode(self.num_workers, self._unreadable)[0]
        return Split(files, files.labels)

    def _fits(self, count: int) -> bool:
        return count * self.channels * self.size**2 <= 2 * 2**30 if self.in_memory == "auto" else self.in_memory

    def _divide(self, source: Split) -> tuple[Split, Split]:
        images, labels = source
        if len(images) < 2:
            raise ValueError(f"{self.root} holds {len(images)} image(s): too few to set any aside for validation")
        groups = labels if labels is not None and labels.ndim == 1 else torch.zeros(len(images), dtype=torch.long)
        first, second = stratified_split(groups, self.val_fraction, self.seed)
        return tuple(Split(images[i], None if labels is None else labels[i]) for i in (first, second))  # type: ignore[return-value]
