"""Labels of images in a folder: by the sub-folder that they are in, or by a file that names them."""

import logging
import unicodedata
from pathlib import Path

import torch
from torch import Tensor

from datamodules.folder_parts import Part
from datamodules.image_listing import plain_text, shown
from datamodules.label_file import LabelFile, read_labels
from zoo.functional.finetune import Task

log = logging.getLogger(__name__)


def class_of(path: Path, top: Path) -> str:
    """The first of the sub-folders between ``top`` and an image; "" where there is none."""
    parts = path.relative_to(top).parts
    return plain_text(parts[0]) if len(parts) > 1 else ""


def folder_classes(part: Part) -> list[str]:
    """Names of the classes, sorted; none where there is a single one, which distinguishes nothing."""
    names = sorted({class_of(path, part.top) for path in part.paths} - {""})
    return names if len(names) > 1 else []


def folder_labels(part: Part, classes: list[str]) -> Tensor:
    """Numbers of the classes (N,) long by the images' sub-folders; -1 for an image outside of all.

    Raises:
        ValueError: a sub-folder that is none of the classes.
    """
    names = [class_of(path, part.top) for path in part.paths]
    _check_known(sorted({*names} - {""}), classes, str(part.top))
    number = {name: i for i, name in enumerate(classes)}
    return torch.tensor([number.get(name, -1) for name in names])


def label_file(file: str, task: Task, root: Path, paths: list[Path], fewest: int = 2) -> LabelFile:
    """What a file says of the images under ``root``; paths in it that are of none are told.

    Args:
        file: Path of the file, see ``read_labels``.
        task: Task of the labels.
        root: Folder that the paths in the file are relative to.
        paths: Paths of the images.
        fewest: Number of classes that it must name.

    Raises:
        ValueError: not one of its paths is of an image there.
    """
    given = read_labels(Path(file).expanduser(), task, fewest)
    given = given._replace(by_path={_composed(path): label for path, label in given.by_path.items()})
    there = {_name(path, root) for path in paths}
    if missing := [path for path in given.by_path if path not in there]:
        some = ", ".join(map(shown, missing[:3]))
        counts = (len(missing), len(given.by_path))
        log.warning("%d of %d paths in %s are of no image under %s: %s", *counts, file, shown(root), some)
    if len(missing) == len(given.by_path):
        raise ValueError(f"no path in {file} is of an image under {shown(root)}: they are relative to it")
    return given


def file_labels(given: LabelFile, root: Path, paths: list[Path]) -> Tensor:
    """Labels of images under ``root``, as ``LabelFile.of`` gives them."""
    return given.of([_name(path, root) for path in paths])


def with_training_names(labels: Tensor, own: list[str], names: list[str], file: str) -> Tensor:
    """Labels of another file under the numbers, or in the columns, of the training's.

    Args:
        labels: Classes (N,) long, or (N, K) floats.
        own: Names of the classes or values of that file.
        names: Those of the training.
        file: Path of that file.

    Raises:
        ValueError: a name that training does not have, or a value (of a regression) that the file lacks.
    """
    if own == names:
        return labels
    _check_known(own, names, file)
    place = torch.tensor([names.index(name) for name in own])
    if labels.ndim == 1:
        return torch.where(labels >= 0, place[labels.clamp_min(0)], -1)
    moved = labels.new_zeros(len(labels), len(names))
    moved[:, place] = labels
    moved[labels.isnan().all(1)] = float("nan")
    return moved


def _check_known(names: list[str], known: list[str], where: str) -> None:
    if unknown := [name for name in names if name not in known]:
        raise ValueError(
            f"{shown(where)} has {', '.join(map(shown, unknown))}, which the training images do not have: these have "
            f"{', '.join(map(shown, known)) or 'no labels'}"
        )


def _name(path: Path, root: Path) -> str:
    return _composed(path.relative_to(root).as_posix())


def _composed(name: str) -> str:
    """A path as it is compared: some systems take accents apart, and some files of labels do not."""
    return unicodedata.normalize("NFC", plain_text(name))
