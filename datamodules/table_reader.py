"""Reading tables of numbers: what cannot be used is named by row and column, and nothing is dropped in silence."""

import csv
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.functional.finetune import Task

BUNDLED = ("iris", "wine", "breast_cancer", "diabetes")


class Table(NamedTuple):
    """Rows (N, D) float64, the columns' names, labels or None, and the classes' names.

    Labels are (N,) long; of several classes a row, or of numbers, (N, K) float32, and the names those of the columns.
    """

    rows: Tensor
    columns: list[str]
    labels: Tensor | None
    classes: list[str]


def read_table(
    source: str, label: str | Sequence[str] = "", drop: Sequence[str] = (), task: Task = "classification"
) -> Table:
    """A bundled table by name, or a file by its ending.

    Args:
        source: Name or path, see ``datamodules.tabular.Vectors``.
        label: Column of classes, by name or number, or columns; "" is none.
        drop: Columns to leave out, by name or number.
        task: Task of the labels: "multilabel" has a column of 0 and 1 for each class, "regression" columns of numbers.

    Raises:
        ValueError: an ending or a column that there is not, text among the numbers, NaN or infinity, no rows.
        FileNotFoundError: no such file.
    """
    if source in BUNDLED:
        return _checked(_bundled(source), source, drop)
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no file {source!r}, and no table of that name; there are: {', '.join(BUNDLED)}")
    readers = {".csv": _csv, ".tsv": _csv, ".parquet": _parquet, ".npy": _arrays, ".npz": _arrays}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{source}: tables end in {', '.join(readers)}; got {path.suffix or 'nothing'!r}")
    names, cells, given = readers[path.suffix.lower()](path)
    if not len(cells) or not names:
        raise ValueError(f"{source} has no rows")
    labels = [label] if isinstance(label, str) and label else list(label)
    return _checked(_table(names, cells, given, labels, source, task), source, drop)


def _bundled(name: str) -> Table:
    from sklearn import datasets  # takes a second to import: only who uses it waits

    found = getattr(datasets, f"load_{name}")()
    rows, labels = torch.from_numpy(found.data).double(), torch.from_numpy(found.target)
    if name == "diabetes":
        return Table(rows, list(found.feature_names), labels.float().unsqueeze(1), ["progression"])
    labels = labels.long()
    return Table(rows, [str(n) for n in found.feature_names], labels, [str(n) for n in found.target_names])


_Cells = tuple[list[str], Any, Any]  # names of columns, rows of cells, labels if the file has them apart


def _csv(path: Path) -> _Cells:
    """Cells between commas, semicolons, tabs, bars or else blanks; a first line without a number is names."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        marks = file.readline()
        file.seek(0)
        mark = max(",;\t|", key=marks.count)
        if mark in marks:
            reader = csv.reader(file, delimiter=mark, skipinitialspace=True)
            lines = [(reader.line_num, cells) for cells in reader if any(cells)]
        else:
            lines = [(i, line.split()) for i, line in enumerate(file, 1) if line.strip()]
    if not lines:
        return [], [], None
    first = lines[0][1]
    named = not any(_is_number(cell) for cell in first)
    width = len(first)
    for line, cells in lines:
        if len(cells) != width:
            raise ValueError(f"{path}: line {line} has {len(cells)} cells, and the first has {width}")
    names = [cell.strip() for cell in first] if named else [str(i) for i in range(width)]
    return names, [cells for _, cells in lines[named:]], None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _parquet(path: Path) -> _Cells:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ValueError(f"{path}: reading .parquet needs pyarrow: pip install pyarrow") from None
    table = parquet.read_table(path)
    columns = [column.to_pylist() for column in table.columns]
    return [str(name) for name in table.column_names], list(zip(*columns, strict=True)), None


def _arrays(path: Path) -> _Cells:
    try:
        found = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path}: not an array of plain numbers ({error})") from error
    x, y = (found, None) if isinstance(found, np.ndarray) else (found.get("x"), found.get("y"))
    if x is None:
        raise ValueError(f"{path} has no array 'x'; there are: {', '.join(found.files)}")
    if x.ndim != 2 or x.dtype.kind not in "biuf":
        raise ValueError(f"{path}: 'x' must be numbers (N, D); got {x.dtype} of shape {x.shape}")
    if y is not None and (y.ndim not in (1, 2) or len(y) != len(x)):
        raise ValueError(f"{path}: 'y' must be of shape ({len(x)},) or ({len(x)}, K); got {y.shape}")
    return [str(i) for i in range(x.shape[1])], x, y


def _column_index(names: list[str], wanted: str, option: str, source: str) -> int:
    """Of a column, by its name or its number."""
    if wanted in names:
        return names.index(wanted)
    if wanted.isdigit() and int(wanted) < len(names):
        return int(wanted)
    raise ValueError(f"{source} has no column {wanted!r} for {option}; there are: {', '.join(names)}")


def _table(names: list[str], cells: Any, given: Any, wanted: list[str], source: str, task: Task) -> Table:
    if wanted and given is not None:
        raise ValueError(f"{source} has its own labels, 'y': leave `data.label` out")
    columns = given.shape[1] if isinstance(given, np.ndarray) and given.ndim == 2 else len(wanted)
    if columns > 1 and task == "classification":
        raise ValueError(f"{columns} columns of labels: say what they are of, `data.task` multilabel or regression")
    indices = [_column_index(names, label, "label", source) for label in wanted]
    if indices:
        given = [[row[i] for i in indices] for row in cells]
        cells = [[cell for i, cell in enumerate(row) if i not in indices] for row in cells]
    labelled = [names[i] for i in indices]
    names = [name for i, name in enumerate(names) if i not in indices]
    if task == "classification":
        classes, labels = _classes([row[0] for row in given] if indices else given) if given is not None else ([], None)
    else:
        classes, labels = _columns(given, labelled, source, task)
    return Table(_as_numbers(cells, names, source), names, labels, classes)


def _columns(given: Any, names: list[str], source: str, task: Task) -> tuple[list[str], Tensor]:
    if given is None:
        raise ValueError(f"task {task!r} needs labels: say which columns of {source} they are, `data.label`")
    values = _as_numbers(given, names, source, f"a {task} has numbers for labels")
    values = values.view(len(values), -1).float()
    if not names:  # an array's
        names = ["y"] if values.shape[1] == 1 else [str(i) for i in range(values.shape[1])]
    if not values.isfinite().all():
        row, column = (~values.isfinite()).nonzero().tolist()[0]
        raise ValueError(f"{source}: column {names[column]!r} is NaN or infinite in row {row} (from 0)")
    if task == "multilabel" and (odd := (values != 0) & (values != 1)).any():
        row, column = odd.nonzero().tolist()[0]
        value = values[row, column].item()
        raise ValueError(f"{source}: column {names[column]!r} has {value:g} in row {row} (from 0), neither 0 nor 1")
    return names, values


def _classes(given: Any) -> tuple[list[str], Tensor]:
    """Names in order, and each row's."""
    texts = [str(value).strip() for value in (given.tolist() if isinstance(given, np.ndarray) else given)]
    classes = class_order(set(texts))
    number = {name: i for i, name in enumerate(classes)}
    return classes, torch.tensor([number[text] for text in texts])


def class_order(names: set[str]) -> list[str]:
    """Names by the alphabet, or, if all are numbers, by their size."""
    return sorted(names, key=float) if all(map(_is_number, names)) else sorted(names)


def _as_numbers(
    cells: Any, names: list[str], source: str, hint: str = "name the column in `data.label`, or list it in `data.drop`"
) -> Tensor:
    if isinstance(cells, np.ndarray):
        return torch.from_numpy(cells.astype(np.float64))
    try:
        return torch.from_numpy(np.array(cells, dtype=np.float64))
    except (ValueError, TypeError):
        pass
    for row, values in enumerate(cells):
        for name, cell in zip(names, values, strict=True):
            if cell is None or not _is_number(str(cell)):
                what = "nothing" if cell is None or not str(cell).strip() else f"{cell!r}, which is no number,"
                raise ValueError(f"{source}: column {name!r} has {what} in row {row} (from 0): {hint}")
    raise ValueError(f"{source}: not a table of numbers")


def _checked(table: Table, source: str, drop: Sequence[str]) -> Table:
    if drop:
        gone = {_column_index(table.columns, name, "drop", source) for name in drop}
        kept = [i for i in range(len(table.columns)) if i not in gone]
        table = table._replace(rows=table.rows[:, kept], columns=[table.columns[i] for i in kept])
    if not table.columns:
        raise ValueError(f"{source} has no columns left")
    if not table.rows.isfinite().all():
        row, column = (~table.rows.isfinite()).nonzero().tolist()[0]
        raise ValueError(f"{source}: column {table.columns[column]!r} is NaN or infinite in row {row} (from 0)")
    return table
