"""Cells of a .csv or .tsv file: its encoding, its separator, its lines, and numbers as people write them."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.encodings import REMEDY, decode

_SEPARATORS = ",;\t|"
_SAMPLE = 200  # lines that are looked at to find the separator
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+([eE][+-]?\d+)?")  # 0,5 and 1.234,5
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")  # 1,234 and 1,234,567.8
_MISSING = {"", "na", "n/a", "<na>", "#n/a", "#na", "nan", "-nan", "nat", "none", "null", "?"}


class Line(NamedTuple):
    """The cells of a line, without blanks around them, and its number from 1 in the file."""

    number: int
    cells: list[str]


def read_lines(path: Path, encoding: str = "", remedy: str = REMEDY, separators: str = _SEPARATORS) -> list[Line]:
    """Lines of cells between commas, semicolons, tabs, bars or else blanks; empty lines are left out.

    Args:
        path: Path of the file.
        encoding: Its encoding; "" is UTF-8, or what a mark at its beginning says.
        remedy: What to do where that is wrong.
        separators: Characters that may stand between cells.

    Raises:
        ValueError: it is not text in that encoding, quotation marks do not match, or a line has more or fewer cells
            than the first; names file and line.
    """
    text = list(io.StringIO(decode(path, encoding, remedy), newline=""))
    separator = _separator(text, separators)
    lines = _split(path, text, separator) if separator else _between_blanks(text)
    for line in lines:
        if len(line.cells) != len(lines[0].cells):
            wanted = f"{len(line.cells)} cells, and the first has {len(lines[0].cells)}"
            raise ValueError(f"{path}: line {line.number} has {wanted}")
    return lines


def _separator(lines: Sequence[str], separators: str) -> str:
    """Of the separators that the csv module finds outside of quotes the one that divides most lines alike; of several
    the one that leaves more numbers; "" if none divides the first line."""
    sample = [line for line in lines[: 2 * _SAMPLE] if line.strip()][:_SAMPLE]

    def fit(separator: str) -> tuple[int, int]:
        found: list[list[str]] = []
        with suppress(csv.Error):  # the sample may end within a cell
            found.extend(_reader(sample, separator))
        width = len(found[0]) if found else 0
        numbers = sum(is_number(c) or bool(_DECIMAL_COMMA.fullmatch(c.strip())) for cells in found for c in cells)
        return (sum(len(cells) == width for cells in found), numbers) if width > 1 else (0, 0)

    best = max(separators, key=fit)
    return best if fit(best)[0] else ""


def _reader(lines: Iterable[str], separator: str, strict: bool = True) -> Any:
    csv.field_size_limit(2**31 - 1)
    return csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=strict)


def _split(path: Path, lines: Sequence[str], separator: str) -> list[Line]:
    try:
        return _cells(_reader(lines, separator))
    except csv.Error as error:
        if "end of data" not in str(error):  # text behind a closing quotation mark: it belongs to the cell
            return _cells(_reader(lines, separator, strict=False))
        line = next((n for n, text in enumerate(lines, 1) if text.count('"') % 2), len(lines))
        raise ValueError(f"{path}: a quotation mark is never closed, that in line {line} maybe") from error


def _cells(reader: Any) -> list[Line]:
    found, start = [], 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            found.append(Line(start, [cell.strip() for cell in cells]))
        start = reader.line_num + 1
    return found


def _between_blanks(lines: Sequence[str]) -> list[Line]:
    return [Line(i, line.replace('"', "").split()) for i, line in enumerate(lines, 1) if line.strip()]


def is_number(cell: str) -> bool:
    """Whether a cell is a number with a decimal point, infinity or not-a-number included; 1_000 is none."""
    return bool(_NUMBER.fullmatch(cell.strip()))


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is nothing: blank, NA, nan, None, null and the like, in any case."""
    return cell.strip().casefold() in _MISSING and cell.strip() != "Na"  # which is sodium


def decimal_points(lines: list[Line], path: Path) -> list[Line]:
    """Lines whose numbers have decimal points, of ones with decimal commas or with commas between thousands.

    Raises:
        ValueError: it cannot be told which of them a comma is; names the line.
    """
    commas = [(line.number, c) for line in lines for c in line.cells if "," in c]
    decimal = [(n, c) for n, c in commas if _DECIMAL_COMMA.fullmatch(c) and not _GROUPED.fullmatch(c)]
    grouped = [(n, c) for n, c in commas if _GROUPED.fullmatch(c) and not _DECIMAL_COMMA.fullmatch(c)]
    either = [(n, c) for n, c in commas if _GROUPED.fullmatch(c) and _DECIMAL_COMMA.fullmatch(c)]
    if not (decimal or grouped or either):
        return lines
    points = [(line.number, c) for line in lines for c in line.cells if re.fullmatch(r"[+-]?\d*\.\d+", c)]
    if (decimal and (grouped or points)) or not (decimal or grouped):
        seen = [decimal[0], (grouped or points)[0]] if decimal else either[:1]
        where = " and ".join(f"line {number} has {cell!r}" for number, cell in seen)
        raise ValueError(
            f"{path}: {where}: it cannot be told whether a comma stands before decimals or between thousands; write "
            "decimal points, and nothing between thousands"
        )
    change: Callable[[str], str] = _from_decimal_comma if decimal else (lambda cell: cell.replace(",", ""))
    form = _DECIMAL_COMMA if decimal else _GROUPED
    return [Line(n, [change(c) if form.fullmatch(c) else c for c in cells]) for n, cells in lines]


def _from_decimal_comma(cell: str) -> str:
    return cell.replace(".", "").replace(",", ".")
