"""Reading tables of numbers: what cannot be used is named by row and column, and nothing is dropped in silence."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.delimited import is_missing, is_number
from datamodules.table_files import Header, Sheet, read_sheet
from zoo.functional.finetune import Task

log = logging.getLogger(__name__)
BUNDLED = ("iris", "wine", "breast_cancer", "diabetes")


class Table(NamedTuple):
    """Rows (N, D) float64, the columns' names, labels or None, the classes' names, whether the file has names for its
    columns, and the names of those of labels.

    Labels are (N,) long, -1 where one is missing; of several classes a row, or of numbers, (N, K) float32, a row of NaN
    where one is missing, and the classes' names those of the columns.
    """

    rows: Tensor
    columns: list[str]
    labels: Tensor | None
    classes: list[str]
    named: bool = True
    label_columns: tuple[str, ...] = ()


class Choice(NamedTuple):
    """What is taken of a file.

    Args:
        label: Columns of labels, by name or number.
        drop: Columns to leave out, by name or number.
        task: Task of the labels: "multilabel" has a column of 0 and 1 for each class, "regression" columns of numbers.
        known: Names of the columns in the order in which a module knows them, () where none does yet. The table's are
            put in that order, and labels may be absent.
        header: Whether the first line of a .csv or .tsv has names, or "auto".
        encoding: Encoding of a .csv or .tsv.
    """

    label: Sequence[str] = ()
    drop: Sequence[str] = ()
    task: Task = "classification"
    known: Sequence[str] = ()
    header: Header = "auto"
    encoding: str = ""


def read_table(source: str, choice: Choice) -> Table:
    """A bundled table by name, or a file by its ending.

    Args:
        source: Name or path, see ``datamodules.tabular.Vectors``.
        choice: What is taken of it.

    Raises:
        ValueError: a file that cannot be read, a column that there is not or more than once, columns other than the
            known ones, text among the numbers, NaN or infinity, no rows.
        FileNotFoundError: no such file.
    """
    if source in BUNDLED:
        return _checked(_bundled(source), source, choice)
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no file {source!r}, and no table of that name; there are: {', '.join(BUNDLED)}")
    sheet = read_sheet(path, choice.header, choice.encoding, (*choice.label, *choice.drop, *choice.known))
    return _checked(_table(sheet, source, choice), source, choice)


def _bundled(name: str) -> Table:
    from sklearn import datasets  # takes a second to import: only who uses it waits

    found = getattr(datasets, f"load_{name}")()
    rows, labels = torch.from_numpy(found.data).double(), torch.from_numpy(found.target)
    if name == "diabetes":
        return Table(rows, list(found.feature_names), labels.float().unsqueeze(1), ["progression"])
    labels = labels.long()
    return Table(rows, [str(n) for n in found.feature_names], labels, [str(n) for n in found.target_names])


def _column_index(names: list[str], wanted: str, option: str, source: str) -> int:
    """Of a column, by its name or its number."""
    if wanted in names:
        return names.index(wanted)
    if wanted.isdigit() and int(wanted) < len(names):
        return int(wanted)
    raise ValueError(f"{source} has no column {wanted!r} for {option}; there are: {', '.join(names)}")


def _table(sheet: Sheet, source: str, choice: Choice) -> Table:
    names, cells, given, _ = sheet
    if choice.label and given is not None:
        raise ValueError(f"{source} has its own labels, 'y': leave `data.label` out")
    columns = given.shape[1] if isinstance(given, np.ndarray) and given.ndim == 2 else len(choice.label)
    if columns > 1 and choice.task == "classification":
        raise ValueError(f"{columns} columns of labels: say what they are of, `data.task` multilabel or regression")
    indices = _label_indices(names, source, choice)
    gone = {*indices, *_dropped(names, source, choice)}
    if indices:
        given = [[row[i] for i in indices] for row in cells]
    kept = [i for i in range(len(names)) if i not in gone]
    order = [kept[i] for i in _order([names[i] for i in kept], source, sheet.named, choice.known)]
    labelled = [names[i] for i in indices]
    labels = _labels(given, labelled, source, choice)
    if not order:
        raise ValueError(f"{source} has no columns left")
    chosen = cells[:, order] if isinstance(cells, np.ndarray) else [[row[i] for i in order] for row in cells]
    columns_of = list(choice.known) or [names[i] for i in order]
    return Table(_as_numbers(chosen, columns_of, source), columns_of, *labels, sheet.named, tuple(labelled))


def _label_indices(names: list[str], source: str, choice: Choice) -> list[int]:
    """Places of the columns of labels; none where the columns are known and labels are absent."""
    if choice.known and not any(name in names for name in choice.label):
        by_number = all(name.isdigit() and int(name) < len(names) for name in choice.label)
        if not by_number or len(names) == len(choice.known):
            return []
    return [_column_index(names, name, "label", source) for name in choice.label]


def _dropped(names: list[str], source: str, choice: Choice) -> set[int]:
    """Places of the columns to leave out; where the columns are known they may be absent."""
    there = [n for n in choice.drop if n in names or not choice.known or (n.isdigit() and int(n) < len(names))]
    return {_column_index(names, name, "drop", source) for name in there}


def _order(names: list[str], source: str, named: bool, known: Sequence[str]) -> list[int]:
    """Places of the columns in the known order, or in their own where none is known.

    Raises:
        ValueError: several of a name; missing and additional ones; all of them are named.
    """
    if named and (twice := [name for name, count in Counter(names).items() if count > 1]):
        raise ValueError(
            f"{source} has several columns of the same name, {_listed(twice)}: names must differ (`data.drop` takes "
            "numbers, too)"
        )
    if not known:
        return list(range(len(names)))
    if not named:
        if len(names) != len(known):
            raise ValueError(f"{source} has {len(names)} columns, and the module knows {len(known)}: {_listed(known)}")
        log.warning("%s has no names for its columns: they are taken for %s in this order", source, _listed(known))
        return list(range(len(names)))
    missing = [name for name in known if name not in names]
    added = [name for name in names if name not in known]
    if missing or added:
        parts = [f"lacks {_listed(missing)}"] * bool(missing) + [f"has in addition {_listed(added)}"] * bool(added)
        hint = " (leave them out with `data.drop`, or if they are labels name them in `data.label`)" if added else ""
        raise ValueError(f"{source} has other columns than the module was trained on: it {' and '.join(parts)}{hint}")
    return [names.index(name) for name in known]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:10])
    return shown + (f" ... ({len(names)} in all)" if len(names) > 10 else "")


def _labels(given: Any, names: list[str], source: str, choice: Choice) -> tuple[Tensor | None, list[str]]:
    """Labels, and the names of their classes or columns."""
    if choice.task == "classification":
        if given is None:
            return None, []
        cells = given.tolist() if isinstance(given, np.ndarray) else [row[0] for row in given]
        return class_labels([str(cell).strip() for cell in cells], source)
    if given is None and choice.known:
        return None, []
    return _columns(given, names, source, choice.task)


def _columns(given: Any, names: list[str], source: str, task: Task) -> tuple[Tensor, list[str]]:
    if given is None:
        raise ValueError(f"task {task!r} needs labels: say which columns of {source} they are, `data.label`")
    missing = _is_no_class if task == "multilabel" else is_missing
    if not isinstance(given, np.ndarray) or given.dtype.kind in "SU":
        cells = given if not isinstance(given, np.ndarray) else given.reshape(len(given), -1).tolist()
        given = [["nan" if missing(str(cell)) else cell for cell in row] for row in cells]
    values = _as_numbers(given, names, source, f"a {task} has numbers for labels")
    values = values.view(len(values), -1).float()
    if not names:  # an array's
        names = ["y"] if values.shape[1] == 1 else [str(i) for i in range(values.shape[1])]
    if values.isinf().any():
        row, column = values.isinf().nonzero().tolist()[0]
        raise ValueError(f"{source}: column {names[column]!r} is infinite in row {row} (from 0)")
    if task == "multilabel":
        values[values == -1] = torch.nan
        if (odd := (values != 0) & (values != 1) & ~values.isnan()).any():
            row, column = odd.nonzero().tolist()[0]
            value = values[row, column].item()
            raise ValueError(f"{source}: column {names[column]!r} has {value:g} in row {row} (from 0), neither 0 nor 1")
    if count := int((unlabelled := values.isnan().any(1)).sum()):
        values[unlabelled] = torch.nan
        say_unlabelled(source, count, len(values))
    return values, names


def class_labels(texts: Sequence[str], source: str | Path) -> tuple[Tensor, list[str]]:
    """Classes of N rows (N,) long, -1 where the text says that there is none, and their names in order.

    Blank, NA, nan, None, null and -1 are no classes, which is said. Where 1 is the only other, -1 is a class.
    """
    minus = {"-1", "-1.0"} if {*texts} <= {"-1", "1"} or {*texts} <= {"-1.0", "1.0"} else set()
    none = {text for text in {*texts} if _is_no_class(text) and text not in minus}
    if count := sum(text in none for text in texts):
        say_unlabelled(source, count, len(texts), none)
    classes = class_order({*texts} - none)
    number = {name: i for i, name in enumerate(classes)}
    return torch.tensor([number.get(text, -1) for text in texts]), classes


def _is_no_class(text: str) -> bool:
    return is_missing(text) or text.strip() in ("-1", "-1.0")


def say_unlabelled(source: str | Path, count: int, total: int, spelled: set[str] | None = None) -> None:
    """Say how many labels are missing, and how they are written."""
    how = f" ({', '.join(map(repr, sorted(spelled)))})" if spelled else ""
    log.warning("%s: %d of %d labels are missing%s: these rows are unlabelled", source, count, total, how)


def class_order(names: set[str]) -> list[str]:
    """Names by the alphabet, or, if all are numbers, by their size."""
    return sorted(names, key=float) if all(map(is_number, names)) else sorted(names)


def _as_numbers(
    cells: Any, names: list[str], source: str, hint: str = "name the column in `data.label`, or list it in `data.drop`"
) -> Tensor:
    if isinstance(cells, np.ndarray) and cells.dtype.kind != "U":
        return torch.from_numpy(cells.astype(np.float64))
    try:
        if not any(isinstance(cell, str) and "_" in cell for row in cells for cell in row):  # 1_000 is 1000 in Python
            return torch.from_numpy(np.array(cells, dtype=np.float64))
    except (ValueError, TypeError, OverflowError):
        pass
    for row, values in enumerate(cells):
        for name, cell in zip(names or map(str, range(len(values))), values, strict=False):
            if cell is None or not is_number(str(cell)):
                what = "nothing" if cell is None or not str(cell).strip() else f"{cell!r}, which is no number,"
                raise ValueError(f"{source}: column {name!r} has {what} in row {row} (from 0): {hint}")
    raise ValueError(f"{source}: not a table of numbers")


def _checked(table: Table, source: str, choice: Choice) -> Table:
    if source in BUNDLED:
        gone = _dropped(table.columns, source, choice)
        kept = [i for i in range(len(table.columns)) if i not in gone]
        names = [table.columns[i] for i in kept]
        order = [kept[i] for i in _order(names, source, True, choice.known)]
        table = table._replace(rows=table.rows[:, order], columns=[table.columns[i] for i in order])
    if not table.columns:
        raise ValueError(f"{source} has no columns left")
    if not table.rows.isfinite().all():
        row, column = (~table.rows.isfinite()).nonzero().tolist()[0]
        raise ValueError(f"{source}: column {table.columns[column]!r} is NaN or infinite in row {row} (from 0)")
    return table
