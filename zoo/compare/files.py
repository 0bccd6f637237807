"""What a comparison leaves behind in numbers: ``verdict.json``, ``table.csv``, ``table.md`` and ``cells.csv``."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.compare.cells import Folder, unpack_bits
from zoo.core.atomic import atomic_write

_COLUMNS = ("source", "network", "mode", "rate", "labels", "seed", "stage", "accuracy", "samples", "steps", "seconds")


def write_files(folder: Folder, outcome: Mapping[str, Any]) -> None:
    """Write all of them.

    Args:
        folder: Where the comparison is.
        outcome: Its plan and what it found, as plain values.
    """
    rows = outcome["rows"]
    _write(folder.root / "verdict.json", json.dumps(outcome, indent=1, default=list) + "\n")
    table = rows or outcome["features"]
    _write(folder.root / "table.csv", _csv(table, list(table[0]) if table else []))
    _write(folder.root / "table.md", table_text(rows, outcome["plan"]["labels"]) if rows else features_text(table))
    _write(folder.root / "cells.csv", _csv(_cells(folder), _COLUMNS))


def _write(path: Path, text: str) -> None:
    atomic_write(path, lambda tmp: Path(tmp).write_text(text, encoding="utf-8"))


def _csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cells(folder: Folder) -> Iterable[dict[str, Any]]:
    """A row for each training that was made, in the order of names."""
    for path in sorted((folder.root / "cells").glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        right = result.get("right")
        accuracy = "" if right is None else unpack_bits(right, result["samples"]).double().mean().item()
        yield {**result["cell"], **result, "accuracy": accuracy}


def table_text(rows: Sequence[Mapping[str, Any]], labels: Sequence[int]) -> str:
    """The table in Markdown: a row for each number of labels and technique."""
    heads = ("labels a class", "technique", "accuracy", "without", "gain", "verdict", "worth in labels", "pretraining")
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for count in labels:
        for row in (row for row in rows if row["labels"] == count):
            best = "**" if row["as_good_as_best"] else ""
            cells = (
                str(count),
                row["technique"],
                f"{best}{row['accuracy']:.1f}{best} ({row['accuracy_low']:.1f} to {row['accuracy_high']:.1f})",
                f"{row['without']:.1f} ({row['without_way']})",
                gain_text(row),
                row["verdict"],
                times_text(row),
                f"{row['minutes']:.1f} min" if row["pretrainings"] else "-",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def features_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of features without labels, in Markdown."""
    lines = ["| technique | effective rank | of | spread | pretraining |", "|" + "---|" * 5]
    for row in rows:
        measures = f"{row['rank_me']:.1f} | {row['dimension']:.0f} | {row['spread']:.2f} | {row['minutes']:.1f} min"
        lines.append(f"| {row['technique']} | {measures} |")
    return "\n".join(lines) + "\n"


def gain_text(row: Mapping[str, Any]) -> str:
    """A gain and its interval: "+4.1 (+2.9 to +5.3)"."""
    if row["gain_low"] is None:
        return f"{row['gain']:+.1f}"
    return f"{row['gain']:+.1f} ({row['gain_low']:+.1f} to {row['gain_high']:+.1f})"


def times_text(row: Mapping[str, Any]) -> str:
    """How many times the labels: "3.2 times", "more than 8 times" where the curve without pretraining ends."""
    if row["times_labels_high"] is None:
        return f"more than {row['times_labels']:.2g} times"
    if row["times_labels_low"] == 0:
        return f"at most {row['times_labels']:.2g} times"
    return f"{row['times_labels']:.2g} times"
