"""How a folder of images is divided: into training, validation and test, and into classes."""

import logging
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from datamodules.image_listing import describe, list_images, shown

_NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}

log = logging.getLogger(__name__)


class Part(NamedTuple):
    """The images of one part, and the folder whose sub-folders are their classes."""

    top: Path
    paths: list[Path]


@rank_zero_only
def say(message: str, *values: Any) -> None:
    """Tell the user, once however many processes there are."""
    log.warning(message, *values)


def part_folders(root: Path) -> dict[str, Path]:
    """Sub-folders of ``root`` that are called "train", "val", "test" or similarly, in upper case or lower.

    Raises:
        ValueError: two of them are the same part.
    """
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    found = {part: [path for path in folders if path.name.lower() in names] for part, names in _NAMES.items()}
    for part, paths in found.items():
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            raise ValueError(f"{shown(root)} has {names}, which are both its {part} part: rename one of them")
    return {part: paths[0] for part, paths in found.items() if paths}


def find_parts(root: Path, test_root: Path | None = None, ignored: Collection[Path] = ()) -> dict[str, Part]:
    """The parts of a folder that hold images; what else is there is said.

    Args:
        root: Path of the folder.
        test_root: Another folder, which is the test part.
        ignored: Files that are no images and are known, such as those of labels.

    Raises:
        FileNotFoundError: no such folder, or no images for training.
    """
    for folder in (root, *([test_root] if test_root else [])):
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {shown(folder)}")
    named = part_folders(root)
    beside = list_images(root, {*named.values(), *ignored, *([test_root] if test_root else [])})
    tops = {**named, **({"test": test_root} if test_root else {})}
    listings = {part: list_images(top, ignored) for part, top in tops.items()}
    left_out = sum((listing.left_out for listing in listings.values()), beside.left_out)
    if "train" in named:
        left_out += Counter({"image(s) outside of its parts": len(beside.images)})
    else:
        tops["train"], listings["train"] = root, beside
        if named and beside.images:
            say("%s is divided: %s, and the rest for training", shown(root), _in_words(named))
        _say_if_wrapped(root, beside.images)
    if test_root and "test" in named:
        left_out += Counter({f"image(s) in {named['test'].name}": len(list_images(named["test"]).images)})
    _say_left_out(root, +left_out)
    if not listings["train"].images:
        raise FileNotFoundError(_nothing(root, named, left_out))
    return {part: Part(tops[part], listing.images) for part, listing in listings.items() if listing.images}


def _say_if_wrapped(root: Path, images: list[Path]) -> None:
    """A folder around the one that is divided is a mistake that would train on the test."""
    tops = {path.relative_to(root).parts[0] for path in images}
    inner = root / tops.pop() if len(tops) == 1 else root
    if inner != root and inner.is_dir() and (parts := part_folders(inner)):
        names = ", ".join(shown(path.name) for path in parts.values())
        say("%s holds but %s, whose %s are not kept apart: is that the `data.root`?", shown(root), shown(inner), names)


def _in_words(named: dict[str, Path]) -> str:
    return ", ".join(f"{shown(path.name)}/ is its {part} part" for part, path in named.items())


def _nothing(root: Path, named: dict[str, Path], left_out: Counter[str]) -> str:
    if named and "train" not in named:
        return f"no images for training under {shown(root)}: {_in_words(named)}, and there is no train/ beside"
    others = f"; there are {describe(+left_out)}" if +left_out else ""
    return f"no images under {shown(named.get('train', root))}{others}"


def _say_left_out(root: Path, left_out: Counter[str]) -> None:
    if left_out:
        say("left out of %s: %s", shown(root), describe(left_out))


def find_all(root: Path) -> list[Path]:
    """All images under a folder, whatever its parts; what else is there is said.

    Raises:
        FileNotFoundError: no such folder, or no images in it.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {shown(root)}")
    images, left_out = list_images(root)
    if not images:
        raise FileNotFoundError(_nothing(root, {}, left_out))
    _say_left_out(root, left_out)
    return images
