"""Images of a folder as tensors: read when asked for, or all at once."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.folder_parts import log, say
from datamodules.image_base import Split
from datamodules.image_files import read_image
from datamodules.image_listing import shown
from datamodules.value_range import Ranges, survey
from zoo.core.batch import INDEX, INPUT, LABEL

_NAMED = 20  # names of unreadable files in one line, at most


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
        ranges: Values that are black and white in images of more than 8 bits, see ``read_image``.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Tensor | None,
        size: int,
        channels: int,
        strict: bool,
        may_be_empty: bool = False,
        ranges: Ranges | None = None,
    ) -> None:
        self.paths, self.labels, self.may_be_empty = list(paths), labels, may_be_empty
        self.size, self.channels, self.strict = size, channels, strict
        self.ranges = dict(ranges or {})

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Tensor) -> "ImageFiles":
        labels = None if self.labels is None else self.labels[indices]
        paths = [self.paths[i] for i in indices.tolist()]
        return ImageFiles(paths, labels, self.size, self.channels, self.strict, ranges=self.ranges)

    def identity(self) -> bytes:
        """Names and sizes of the files, for a fingerprint: reading them all would take too long."""
        ranges = repr(sorted(self.ranges.items())) if self.ranges else ""
        return (repr([(path.name, _size(path)) for path in self.paths]) + ranges).encode(errors="backslashreplace")

    def contents(self) -> Iterator[bytes]:
        """The bytes of each file, one after the other."""
        return (path.read_bytes() for path in self.paths)

    def try_read(self, index: int) -> Tensor | None:
        """One image (C, size, size), or None where its file cannot be read.

        Raises:
            ValueError: it cannot be read, and ``strict``.
        """
        try:
            return read_image(self.paths[index], self.size, self.channels, self.ranges)
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

    def decode(self, workers: int, unreadable: "Unreadable") -> tuple[Split, list[Path]]:
        """All that can be read, and their paths.

        Args:
            workers: Number of threads.
            unreadable: Where the others are reported.

        Raises:
            ValueError: there is none.
        """
        with ThreadPoolExecutor(max(1, workers)) as pool:  # PIL decodes outside the interpreter's lock
            images = list(pool.map(self.try_read, range(len(self))))
        good = [i for i, image in enumerate(images) if image is not None]
        unreadable.report([str(self.paths[i]) for i, image in enumerate(images) if image is None], len(good))
        if not good:
            raise ValueError(f"not one of {len(self)} images could be read, {shown(self.paths[0])} among them")
        labels = None if self.labels is None else self.labels[good]
        found = torch.stack([image for image in images if image is not None])
        return Split(found, labels), [self.paths[i] for i in good]


class Unreadable:
    """Says of each file once that it could not be read."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def report(self, names: list[str], readable: int) -> None:
        """Say which of a few files could not be read.

        Args:
            names: Paths of those files.
            readable: Number of the others.
        """
        new = [name for name in names if name not in self._named]
        if new:
            self._named.update(new)
            more = f" and {len(new) - _NAMED} more" if len(new) > _NAMED else ""
            listed = ", ".join(map(shown, new[:_NAMED])) + more
            log.warning("left out %d of %d images that cannot be read: %s", len(new), len(names) + readable, listed)


def look_into(paths: Sequence[Path], ranges: Ranges, workers: int, quiet: bool = False) -> None:
    """Decide what is black and what is white in images of more than 8 bits, and say so.

    Args:
        paths: Paths of the files of one set.
        ranges: What is decided already, which stays; what is decided here is added.
        workers: Number of threads.
        quiet: Whether only to say what is new.
    """
    found = survey(paths, workers)
    for kind, (low, high) in found.ranges().items():
        new, facts = kind not in ranges, found.found[kind]
        low, high = ranges.setdefault(kind, [low, high])
        seen = f"values {min(fact.low for fact in facts):g} to {max(fact.high for fact in facts):g}"
        why = "chosen by them; `data.value_range` sets another" if new else "as it was set or in training"
        what = "whole numbers of more than 8 bits" if kind == "integer" else "floats"
        if new or not quiet:
            say("%d images of %s, %s: %g is black, %g is white (%s)", len(facts), what, seen, low, high, why)
    if beyond := found.beyond(ranges):
        say("%d of %d images have values beyond black and white, which are cut off", beyond, len(paths))
    if found.several:
        say("%d of %d image files have several pages or frames: the first of each is read", found.several, len(paths))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # gone since it was listed, or not to be asked: its reader will say so
        return -1
