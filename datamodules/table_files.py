"""Tables as their files hold them: names, cells and labels, before anything is made of these."""

import importlib
import logging
import re
from collections.abc import Collection, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from datamodules.array_files import read_arrays
from datamodules.delimited import Line, decimal_points, is_missing, is_number, read_lines

log = logging.getLogger(__name__)
Header = bool | Literal["auto"]
_EXACT = 2**53  # above it a float cannot hold every whole number


class Sheet(NamedTuple):
    """A file's table: names of the columns, rows of cells, labels if the file has them apart, and whether the file has
    names for its columns."""

    names: list[str]
    cells: Any
    labels: Any = None
    named: bool = True


def read_sheet(path: Path, header: Header = "auto", encoding: str = "", expected: Collection[str] = ()) -> Sheet:
    """A table by its file's ending: .csv, .tsv, .parquet, .npy or .npz.

    Args:
        path: Path of the file.
        header: Whether the first line of a .csv or .tsv has names; "auto" decides, and says what it decided.
        encoding: Encoding of a .csv or .tsv; "" is UTF-8, or what a mark at its beginning says.
        expected: Names of columns that the user speaks of: a line that has one of them has names.

    Raises:
        ValueError: another ending, or a file that cannot be read; names it.
    """
    ending = path.suffix.lower()
    if ending in (".csv", ".tsv"):
        sheet = _csv(path, header, encoding, expected)
    elif ending == ".parquet":
        sheet = _parquet(path)
    elif ending in (".npy", ".npz"):
        sheet = _arrays(path)
    else:
        raise ValueError(f"{path}: tables end in .csv, .tsv, .parquet, .npy, .npz; got {path.suffix or 'nothing'!r}")
    if not len(sheet.cells) or not sheet.names:
        raise ValueError(f"{path} has no rows")
    _say_inexact(path, sheet)
    return sheet


def _csv(path: Path, header: Header, encoding: str, expected: Collection[str]) -> Sheet:
    lines = decimal_points(read_lines(path, encoding), path)
    if not lines:
        return Sheet([], [])
    named = _has_names(path, lines, expected) if header == "auto" else header
    first = lines[0].cells
    names = first if named else [str(i) for i in range(len(first))]
    cells = [line.cells for line in lines[named:]]
    if named and not names[0] and [row[0] for row in cells] == [str(i) for i in range(len(cells))]:
        log.warning("%s: the first column has no name and counts the rows: leave it out with `data.drop` 0", path)
    return Sheet(names, cells, None, named)


def _has_names(path: Path, lines: Sequence[Line], expected: Collection[str]) -> bool:
    """Whether the first line has names: it has no number, a name that the user speaks of, 0 to n - 1 as pandas writes
    where there are no names, or words above numbers."""
    first = lines[0].cells
    if {*first} & {name for name in expected if not name.isdigit()} or not any(map(is_number, first)):
        return True
    named = _counts(first, lines) or _words_above_numbers(lines)
    shown = ", ".join(first[:4]) + (" ..." if len(first) > 4 else "")
    if named:
        log.warning("%s: the first line (%s) is taken for names of columns; if not: `data.header` false", path, shown)
    else:
        log.warning("%s: the first line (%s) is taken for a row; if it has names: `data.header` true", path, shown)
    return named


def _counts(first: Sequence[str], lines: Sequence[Line]) -> bool:
    """Whether the first line is 0 to n - 1, maybe behind the empty name of an index; a lone 0 is above fractions."""
    count = [str(i) for i in range(len(first))]
    if len(first) == 1:
        return first[0] == "0" and any("." in line.cells[0] for line in lines[1:])
    return first in (count, ["", *count[:-1]])


def _words_above_numbers(lines: Sequence[Line]) -> bool:
    """Whether a column has a word above numbers, and the first line's numbers are whole, such as years."""
    first = lines[0].cells
    if any(is_number(cell) and not cell.isdigit() for cell in first):
        return False
    words = [i for i, cell in enumerate(first) if not is_number(cell) and not is_missing(cell)]
    below = {i: [line.cells[i] for line in lines[1:] if not is_missing(line.cells[i])] for i in words}
    return any(cells and all(map(is_number, cells)) for cells in below.values())


def _parquet(path: Path) -> Sheet:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ValueError(f"{path}: reading .parquet needs pyarrow: pip install pyarrow") from None
    try:
        table = parquet.read_table(path)
        columns = [column.to_pylist() for column in table.columns]
    except Exception as error:  # pyarrow has error types of its own
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    names = [str(name) for name in table.column_names]
    if index := [name for name in names if name.startswith("__index_level_")]:
        log.warning("%s: pandas' index (%s) is left out", path, ", ".join(index))
    kept = [i for i, name in enumerate(names) if name not in index]
    return Sheet([names[i] for i in kept], list(zip(*(columns[i] for i in kept), strict=True)))


def _arrays(path: Path) -> Sheet:
    found = read_arrays(path)
    x, y = found.get("", found.get("x")), found.get("y")
    if x is None:
        raise ValueError(f"{path} has no array 'x'; there are: {', '.join(found) or 'none'}")
    if x.ndim != 2 or x.dtype.kind not in "biuf":
        raise ValueError(f"{path}: 'x' must be numbers (N, D); got {x.dtype} of shape {x.shape}")
    if y is not None and (y.ndim not in (1, 2) or len(y) != len(x)):
        raise ValueError(f"{path}: 'y' must be of shape ({len(x)},) or ({len(x)}, K); got {y.shape}")
    if y is not None and y.dtype.kind not in "biufSU":
        raise ValueError(f"{path}: 'y' must be numbers or text; got {y.dtype}")
    if y is not None and y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8", "backslashreplace")
    return Sheet([str(i) for i in range(x.shape[1])], x, y, named=False)


def _say_inexact(path: Path, sheet: Sheet) -> None:
    """Name columns of whole numbers so large that a float is another number, and neighbours may be the same."""
    for i, name in enumerate(sheet.names):
        exact = _large(sheet.cells, i)
        if changed := [value for value in exact if value != int(float(value))]:
            log.warning(
                "%s: column %r has whole numbers beyond 2^53, which floats round: %d becomes %d, and %d different "
                "ones become %d; subtract what they have in common, or leave the column out with `data.drop`",
                *(path, name, changed[0], int(float(changed[0])), len(exact), len({float(value) for value in exact})),
            )


def _large(cells: Any, column: int) -> set[Any]:
    """A column's exact values beyond 2^53."""
    if isinstance(cells, np.ndarray):
        values = cells[:, column]
        if values.dtype.kind not in "iu" or values.dtype.itemsize < 8:
            return set()
        return set(values[(values > _EXACT) | (values < -_EXACT)].tolist())
    found = (row[column] for row in cells)
    texts = (cell for cell in found if isinstance(cell, str) and re.fullmatch(r"[+-]?\d{16,}(\.0*)?", cell))
    whole = {row[column] for row in cells if type(row[column]) is int and abs(row[column]) > _EXACT}
    return {*map(Decimal, texts)} or whole
