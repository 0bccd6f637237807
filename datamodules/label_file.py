"""Labels of files in a table beside them: in each line a path and what is to be known of it."""

import csv
from pathlib import Path, PurePath
from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.table_reader import class_order
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


def read_labels(file: Path, task: Task) -> LabelFile:
    """Read a .csv file.

    Args:
        file: Path of the file. Its first column has paths; of a classification the second has the class, of a
            multi-label problem classes with ";" between them, of a regression all others have numbers. The first line
            is names unless its path ends as one of the others does.
        task: Task of the labels, "classification", "multilabel" or "regression".

    Raises:
        FileNotFoundError: no such file.
        ValueError: no rows, too few or many cells, what is no number, a path twice; says the line.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no file of labels at {file}")
    with file.open(newline="", encoding="utf-8-sig") as opened:
        reader = csv.reader(opened, skipinitialspace=True)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    first = lines[0][1] if lines else []
    endings = {PurePath(cells[0]).suffix for _, cells in lines[1:]} - {""}
    if first and PurePath(first[0]).suffix in endings:
        lines.insert(0, (0, [str(i) for i in range(-1, len(first) - 1)]))  # names of the values: 0, 1, ...
    if len(lines) < 2:
        raise ValueError(f"{file} has no rows: a line of names is expected, then lines of a path and its label")
    width = len(lines[0][1])
    if width < 2 or (width > 2 and task != "regression"):
        raise ValueError(f"{file}: {width} columns; a path and one column of labels are expected (task {task!r})")
    seen: dict[str, int] = {}
    for line, cells in lines[1:]:
        cells[0] = str(PurePath(cells[0]))  # ./a.png is a.png
        if len(cells) != width:
            raise ValueError(f"{file}: line {line} has {len(cells)} cells, and the first has {width}")
        if cells[0] in seen:
            raise ValueError(f"{file}: {cells[0]!r} stands in line {seen[cells[0]]} and again in line {line}")
        seen[cells[0]] = line
    if task == "regression":
        return LabelFile(lines[0][1][1:], {cells[0]: _numbers(cells[1:], file, line) for line, cells in lines[1:]})
    names_of = {cells[0]: [name for name in cells[1].split(";") if name.strip()] for _, cells in lines[1:]}
    if task == "classification":
        names_of = {cells[0]: [cells[1]] for _, cells in lines[1:] if cells[1]}
    names = class_order({name.strip() for found in names_of.values() for name in found})
    if len(names) < (2 if task == "classification" else 1):
        raise ValueError(f"{file} names {len(names)} class(es): nothing to tell apart")
    number = {name: i for i, name in enumerate(names)}
    if task == "classification":
        return LabelFile(names, {path: torch.tensor(number[found[0]]) for path, found in names_of.items()})
    return LabelFile(
        names, {path: _multi_hot([number[n.strip()] for n in found], len(names)) for path, found in names_of.items()}
    )


def _numbers(cells: list[str], file: Path, line: int) -> Tensor:
    try:
        values = torch.tensor([float(cell) for cell in cells])
    except ValueError as error:
        raise ValueError(f"{file}: line {line} has {cells!r}, not all of them numbers") from error
    if not values.isfinite().all():
        raise ValueError(f"{file}: line {line} has NaN or infinity")
    return values


def _multi_hot(indices: list[int], count: int) -> Tensor:
    marks = torch.zeros(count)
    marks[indices] = 1.0
    return marks
