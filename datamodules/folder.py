"""Any folder of images: nested or flat, labelled by sub-folders or not at all, of any sizes and kinds."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from datamodules.image_base import ImageData, Split
from datamodules.image_files import read_image
from datamodules.label_budget import stratified_split
from datamodules.label_file import LabelFile, read_labels
from zoo.core.arguments import at_least
from zoo.core.batch import INDEX, INPUT, LABEL
from zoo.functional.finetune import Task

log = logging.getLogger(__name__)

_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
_FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


def find_images(root: Path) -> list[Path]:
    """All image files under ``root``, however deep, sorted; hidden ones are left out."""
    files = (path for path in root.rglob("*") if path.suffix.lower() in _ENDINGS and path.is_file())
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(root).parts))


class ImageFiles:
    """Images that are read when asked for.

    Args:
        paths: Paths of the N files.
        labels: Classes (N,) long, values (N, K), or None.
        size: Height and width of the tensors.
        channels: Number of channels of the tensors.
        strict: Whether to stop at a file that cannot be read, instead of leaving it out.
        may_be_empty: Whether a whole batch may be of files that cannot be read, as happens where they are taken in
            order.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Tensor | None,
        size: int,
        channels: int,
        strict: bool,
        may_be_empty: bool = False,
    ) -> None:
        self.paths, self.labels, self.may_be_empty = list(paths), labels, may_be_empty
        self.size, self.channels, self.strict = size, channels, strict

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Tensor) -> "ImageFiles":
        labels = None if self.labels is None else self.labels[indices]
        return ImageFiles([self.paths[i] for i in indices.tolist()], labels, self.size, self.channels, self.strict)

    def identity(self) -> bytes:
        """Names and sizes of the files, for a fingerprint: reading them all would take too long."""
        return repr([(path.name, path.stat().st_size) for path in self.paths]).encode()

    def try_read(self, index: int) -> Tensor | None:
        """One image (C, size, size), or None where its file cannot be read.

        Raises:
            ValueError: it cannot be read, and ``strict``.
        """
        try:
            return read_image(self.paths[index], self.size, self.channels)
        except ValueError:
            if self.strict:
                raise
            return None

    def read(self, indices: Sequence[int]) -> dict[str, Any]:
        """A batch of those that can be read, with the names of the others under ``unreadable``."""
        images = [(i, self.try_read(i)) for i in indices]
        good = [i for i, image in images if image is not None]
        if not good and not self.may_be_empty:
            raise ValueError(f"not one of {len(images)} images could be read, {self.paths[indices[0]]} among them")
        none = torch.empty(0, self.channels, self.size, self.size, dtype=torch.uint8)
        found = [image for _, image in images if image is not None]
        batch: dict[str, Any] = {INPUT: torch.stack(found) if found else none}
        batch[INDEX] = torch.tensor(good, dtype=torch.long)
        if self.labels is not None:
            batch[LABEL] = self.labels[good]
        return {**batch, "unreadable": [str(self.paths[i]) for i, image in images if image is None]}


class Folder(ImageData):
    """Images under one folder.

    Sub-folders ``train``, ``val`` and ``test`` are the splits where they exist (no ``test``: validation is used for
    it); otherwise a tenth each is set aside for validation and testing. The first level of sub-folders names the
    classes; images beside each other without sub-folders are unlabelled.

    Args:
        root: Path of the folder.
        size: Height and width that images get: shorter side resized, middle cropped.
        channels: Number of channels, 3 for colour, 1 for grey.
        labels: .csv file of paths relative to the root and their labels (see ``read_labels``), where sub-folders do
            not name the classes. Images that are not in it are unlabelled.
        task: Task of those labels: "classification"; "multilabel", several classes an image, labels (B, C) of 0
            and 1; or "regression", numbers (B, K); in both NaN means unlabelled.
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

    def __init__(
        self,
        root: str,
        size: int = 64,
        channels: Literal[1, 3] = 3,
        labels: str = "",
        task: Task = "classification",
        strict: bool = False,
        in_memory: bool | Literal["auto"] = "auto",
        num_workers: int = 2,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        at_least(1, size=size)
        if task != "classification" and not labels:
            raise ValueError(f"`data.task` {task!r} needs a file of labels: `data.labels`")
        if task != "classification" and self.labels_per_class is not None:
            raise ValueError(f"`data.labels_per_class` is for classes; these labels are of a {task}")
        self.labels, self.task = labels, task
        self.root = Path(root).expanduser()
        self.size, self.channels, self.strict = size, channels, strict
        self.in_memory, self.num_workers = in_memory, num_workers
        # ImageNet's, as is customary: the true ones would need every image decoded first.
        self.mean, self.std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if channels == 3 else ((0.449,), (0.226,))
        self._named: set[str] = set()
        self._readable: list[Path] = []  # of the last that were decoded
        self._predicted: list[Path] = []

    @property
    def input_shape(self) -> tuple[int, int, int]:  # type: ignore[override]
        """Shape of an image, (channels, size, size)."""
        return (self.channels, self.size, self.size)

    @cached_property
    def files(self) -> dict[str, list[Path]]:
        """Paths of the images by split; one split, "train", where the folder is not divided."""
        if not self.root.is_dir():
            raise FileNotFoundError(f"no folder {self.root}")
        folders = {
            split: next((self.root / n for n in names if (self.root / n).is_dir()), None)
            for split, names in _FOLDERS.items()
        }
        if folders["train"] is None:
            folders = {"train": self.root}
        found = {split: find_images(folder) for split, folder in folders.items() if folder is not None}
        if not found["train"]:
            raise FileNotFoundError(f"no images under {self._top('train')} ({', '.join(sorted(_ENDINGS))})")
        return {split: paths for split, paths in found.items() if paths}

    @property
    def parts(self) -> dict[str, list[Path]]:
        """The old name of ``files``, for one release."""
        return self.files

    @cached_property
    def _given(self) -> LabelFile | None:
        """What the file of labels says."""
        if not self.labels:
            return None
        given = read_labels(Path(self.labels).expanduser(), self.task)
        there = {str(path.relative_to(self.root)) for paths in self.files.values() for path in paths}
        if missing := [path for path in given.by_path if path not in there]:
            log.warning(
                "%d of %d paths in %s are of no image under %s: %s",
                *(len(missing), len(given.by_path), self.labels, self.root, ", ".join(missing[:3])),
            )
        if len(missing) == len(given.by_path):
            raise ValueError(f"no path in {self.labels} is of an image under {self.root}: they are relative to it")
        return given

    @cached_property
    def class_names(self) -> list[str]:  # type: ignore[override]
        """Names of the classes in the order of their numbers; empty where there are none (a single sub-folder
        distinguishes nothing)."""
        if self._given is not None:
            return self._given.names
        top = self._top("train")
        names = sorted({path.relative_to(top).parts[0] for path in self.files["train"] if path.parent != top})
        return names if len(names) > 1 else []

    def read(self) -> dict[str, Split]:
        found = {name: self._image_files(name) for name in self.files}
        kept = self._keep_in_memory()
        splits = {name: self._decode(files) if kept else Split(files, files.labels) for name, files in found.items()}
        if "val" not in splits and "test" not in splits:
            splits["train"], splits["test"] = self._divide(splits["train"])
        if "val" not in splits:
            splits["train"], splits["val"] = self._divide(splits["train"])
        return {"test": splits["val"], **splits}

    def read_predict(self) -> Split:
        """All images under the root, whatever the folders they are in."""
        if not self.root.is_dir():
            raise FileNotFoundError(f"no folder {self.root}")
        paths = find_images(self.root)
        if not paths:
            raise FileNotFoundError(f"no images under {self.root} ({', '.join(sorted(_ENDINGS))})")
        files = ImageFiles(paths, None, self.size, self.channels, self.strict, may_be_empty=True)
        kept = self._fits(len(paths))
        split = self._decode(files) if kept else Split(files, None)
        self._predicted = self._readable if kept else paths
        return split

    @property
    def names(self) -> list[str]:
        """Paths of the files that are predicted."""
        return [str(path) for path in self._predicted]

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Say once of each file that a worker could not read it."""
        self._report(batch.get("unreadable", []), len(batch[INPUT]))
        return {key: value for key, value in batch.items() if key != "unreadable"}

    def _top(self, split: str) -> Path:
        names = _FOLDERS[split]
        return next((self.root / n for n in names if (self.root / n).is_dir()), self.root)

    def _image_files(self, split: str) -> ImageFiles:
        paths, top = self.files[split], self._top(split)
        labels = None
        if self._given is not None:
            labels = self._given.of([str(path.relative_to(self.root)) for path in paths])
        elif self.class_names:
            number = {name: i for i, name in enumerate(self.class_names)}
            # An image outside all class folders is unlabelled.
            labels = torch.tensor([number.get(path.relative_to(top).parts[0], -1) for path in paths])
        return ImageFiles(paths, labels, self.size, self.channels, self.strict)

    def _keep_in_memory(self) -> bool:
        return self._fits(sum(map(len, self.files.values())))

    def _fits(self, count: int) -> bool:
        return count * self.channels * self.size**2 <= 2 * 2**30 if self.in_memory == "auto" else self.in_memory

    def _decode(self, files: ImageFiles) -> Split:
        with ThreadPoolExecutor(max(1, self.num_workers)) as pool:  # PIL decodes outside the interpreter's lock
            images = list(pool.map(files.try_read, range(len(files))))
        good = [i for i, image in enumerate(images) if image is not None]
        self._report([str(files.paths[i]) for i, image in enumerate(images) if image is None], len(good))
        if not good:
            raise ValueError(f"not one of the {len(files)} images under {self.root} could be read")
        self._readable = [files.paths[i] for i in good]
        labels = None if files.labels is None else files.labels[good]
        return Split(torch.stack([image for image in images if image is not None]), labels)

    def _report(self, unreadable: list[str], readable: int) -> None:
        new = [name for name in unreadable if name not in self._named]
        if new:
            self._named.update(new)
            total = len(unreadable) + readable
            log.warning("left out %d of %d images that cannot be read: %s", len(new), total, ", ".join(new))

    def _divide(self, source: Split) -> tuple[Split, Split]:
        images, labels = source
        if len(images) < 2:
            raise ValueError(f"{self.root} holds {len(images)} image(s): too few to set any aside for validation")
        groups = labels if labels is not None and labels.ndim == 1 else torch.zeros(len(images), dtype=torch.long)
        first, second = stratified_split(groups, self.val_fraction, self.seed)
        return tuple(Split(images[i], None if labels is None else labels[i]) for i in (first, second))  # type: ignore[return-value]
