"""Labels of files in a table beside them: in each line a path and what is to be known of it."""

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.delimited import Line, decimal_points, is_missing, is_number, read_lines
from datamodules.table_reader import class_labels, class_order, say_unlabelled
from zoo.functional.finetune import Task


class LabelFile(NamedTuple):
    """Names of the classes or values, and each path's label as ``Folder`` gives it, without the batch."""

    names: list[str]
    by_path: dict[str, Tensor]

    def of(self, paths: list[str]) -> Tensor:
        """Labels of N paths: (N,) long with -1, or (N, K) floats with NaN, where there is none."""
        some = next(iter(self.by_path.values()))
        unknown = torch.full_like(some, float("nan") if some.is_floating_point() else -1)
        return torch.stack([self.by_path.get(path, unknown) for path in paths])


def read_labels(file: Path, task: Task, fewest: int = 2) -> LabelFile:
    """Read a .csv file; what is blank, NA, nan, None, null or, of classes, -1 is unlabelled, which is said.

    Args:
        file: Path of the file, in UTF-8, or UTF-16 with its mark, cells between commas, semicolons or tabs. Its first
            column has paths; of a classification the second has the class, of a multi-label problem classes with ";"
            between them, of a regression all others have numbers. The first line is names unless its path ends as one
            of the others does.
        task: Task of the labels, "classification", "multilabel" or "regression".
        fewest: Number of classes that a classification needs: 1 will do for a test.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no rows, too few or many cells, what is no number, a path twice, another encoding; says the line.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no file of labels at {file}")
    separators = ",\t|" if task == "multilabel" else ",;\t|"
    lines = read_lines(file, remedy="save it as UTF-8", separators=separators)
    names, lines = _names(lines, file)
    if len(names) < 2 or (len(names) > 2 and task != "regression"):
        raise ValueError(f"{file}: {len(names)} columns; a path and one column of labels are expected (task {task!r})")
    paths = _paths(lines, file)
    if task == "regression":
        return LabelFile(names[1:], _values(paths, decimal_points(lines, file), file))
    if task == "multilabel":
        return _classes_of_each(paths, [line.cells[1] for line in lines], file)
    labels, classes = class_labels([line.cells[1] for line in lines], file)
    if len(classes) < fewest:
        raise ValueError(f"{file} names {len(classes)} class(es): nothing to tell apart")
    return LabelFile(classes, {path: label for path, label in zip(paths, labels, strict=True) if label >= 0})


def _names(lines: list[Line], file: Path) -> tuple[list[str], list[Line]]:
    """Names of the columns, and the other lines; values without names are called 0, 1, ..."""
    first = lines[0].cells if lines else []
    endings = {PurePath(line.cells[0]).suffix.lower() for line in lines[1:]} - {""}
    if first and PurePath(first[0]).suffix.lower() in endings:
        return [str(i) for i in range(-1, len(first) - 1)], lines
    if len(lines) < 2:
        raise ValueError(f"{file} has no rows: a line of names is expected, then lines of a path and its label")
    return first, lines[1:]


def _paths(lines: Sequence[Line], file: Path) -> list[str]:
    """The first cells, each of which is there once."""
    seen: dict[str, int] = {}
    for line, cells in lines:
        if not cells[0]:
            raise ValueError(f"{file}: line {line} has no path")
        path = str(PurePath(cells[0]))  # ./a.png is a.png
        if path in seen:
            raise ValueError(f"{file}: {path!r} stands in line {seen[path]} and again in line {line}")
        seen[path] = line
    return list(seen)


def _values(paths: Sequence[str], lines: Sequence[Line], file: Path) -> dict[str, Tensor]:
    """Numbers of each path; one that lacks a number has none."""
    complete = [i for i, line in enumerate(lines) if not any(map(is_missing, line.cells[1:]))]
    if len(complete) < len(lines):
        say_unlabelled(file, len(lines) - len(complete), len(lines))
    if not complete:
        raise ValueError(f"{file}: every label is missing")
    return {paths[i]: _numbers(lines[i].cells[1:], file, lines[i].number) for i in complete}


def _numbers(cells: list[str], file: Path, line: int) -> Tensor:
    if not all(map(is_number, cells)):
        raise ValueError(f"{file}: line {line} has {cells!r}, not all of them numbers")
    values = torch.tensor([float(cell) for cell in cells])
    if not values.isfinite().all():
        raise ValueError(f"{file}: line {line} has infinity")
    return values


def _classes_of_each(paths: Sequence[str], cells: Sequence[str], file: Path) -> LabelFile:
    """Several classes of each path, none where the cell is empty; one that says NA or -1 is unlabelled."""
    found = [[name.strip() for name in cell.split(";") if name.strip()] for cell in cells]
    unknown = [bool(names) and all(is_missing(name) or name == "-1" for name in names) for names in found]
    if any(unknown):
        spelled = {cell for cell, missing in zip(cells, unknown, strict=True) if missing}
        say_unlabelled(file, sum(unknown), len(cells), spelled)
    known = {path: names for path, names, gone in zip(paths, found, unknown, strict=True) if not gone}
    classes = class_order({name for names in known.values() for name in names})
    if not classes:
        raise ValueError(f"{file} names 0 class(es): nothing to tell apart")
    number = {name: i for i, name in enumerate(classes)}
    labels = {path: _multi_hot([number[n] for n in names], len(classes)) for path, names in known.items()}
    return LabelFile(classes, labels)


def _multi_hot(indices: list[int], count: int) -> Tensor:
    marks = torch.zeros(count)
    marks[indices] = 1.0
    return marks
