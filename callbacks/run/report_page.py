"""Runs as one self-contained HTML page: no script, nothing fetched, figures and curves inside."""

import base64
import csv
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from zoo.core.atomic import atomic_write

Points = list[tuple[float, float]]  # (step, value)

_COLOURS = ("#2c5f8a", "#d1742a", "#3f8f5b", "#a8456b", "#7a67b5", "#8a7a2c")
_MOST_POINTS = 400  # of a curve: more are not seen
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1200px; margin: 2em auto;
       padding: 0 1em; }
h1 { font-size: 1.5em; margin-bottom: .2em } h2 { font-size: 1.1em; margin-top: 2em; border-bottom: 1px solid #ddd }
table { border-collapse: collapse } th, td { text-align: left; padding: .2em 1.2em .2em 0; vertical-align: top }
td.number { font-variant-numeric: tabular-nums; text-align: right } tr:nth-child(even) { background: #f6f7f9 }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(330px, 1fr)); gap: 1em }
.grid svg { width: 100%; height: auto } figure { margin: 0 } img { max-width: 100% } figcaption { color: #555 }
pre { background: #f6f7f9; padding: .6em; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere }
.status { color: #666 }
"""


class Run(NamedTuple):
    """What a run's folder holds."""

    folder: Path
    facts: dict[str, Any]  # run.json
    curves: dict[str, Points]  # by metric, "train/loss"
    figures: dict[str, Path]  # by name
    config: str

    @property
    def title(self) -> str:
        """Title of the run: the last two parts of its path."""
        return "/".join(self.folder.resolve().parts[-2:])


def read_run(folder: str | Path) -> Run:
    """Read what there is; a line that is not complete yet, or a cell that is no number, is passed over.

    Raises:
        FileNotFoundError: the folder, or ``metrics.csv`` in it, is missing.
        ValueError: ``run.json`` is no JSON.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    if not (folder / "metrics.csv").is_file():
        raise FileNotFoundError(f"{folder} holds no metrics.csv: is it the folder of a run (runs/NAME/1)?")
    config = folder / "config.yaml"
    figures = {path.stem: path for path in sorted(folder.glob("*.png")) if not path.name.startswith(".")}
    text = config.read_text(errors="replace") if config.is_file() else ""
    return Run(folder, _read_facts(folder / "run.json"), read_curves(folder / "metrics.csv"), figures, text)


def _read_facts(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, and the page is made without it") from error


def read_curves(path: Path) -> dict[str, Points]:
    """Read Lightning's CSV as points by metric."""
    curves: dict[str, Points] = {}
    with path.open(newline="", errors="replace") as file:
        for row in csv.DictReader(file):
            step = _number(row.get("step"))
            for name, cell in row.items():
                value = _number(cell)
                if step is not None and value is not None and name not in ("step", "epoch", None):
                    curves.setdefault(name, []).append((step, value))
    return curves


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def page(runs: Sequence[Run]) -> str:
    """One page of one run, or of several side by side."""
    title = runs[0].title if len(runs) == 1 else f"{len(runs)} runs"
    running = any(run.facts.get("status") == "running" for run in runs)
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta http-equiv="refresh" content="15">' if running else "",
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>",
        "" if len(runs) > 1 else f'<p class="status">{escape(str(runs[0].facts.get("status", "")))}</p>',
        _results(runs),
        _curves(runs),
        _figures(runs),
        _facts(runs),
        *(_details(run, len(runs) > 1) for run in runs),
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = False) -> str:
    style = ' class="number"' if numbers else ""
    lines = ["<table>"]
    if any(head):
        lines.append("<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>")
    for name, *cells in rows:
        values = "".join(f"<td{style}>{escape(cell)}</td>" for cell in cells)
        lines.append(f"<tr><th>{escape(name)}</th>{values}</tr>")
    return "\n".join([*lines, "</table>"])


def _heads(runs: Sequence[Run]) -> list[str]:
    return ["", *(run.title for run in runs)] if len(runs) > 1 else ["", ""]


def _results(runs: Sequence[Run]) -> str:
    """The test of the best checkpoint, or else the last validation."""
    stage = "test" if any(name.startswith("test/") for run in runs for name in run.curves) else "val"
    names = [name for run in runs for name in run.curves if name.startswith(f"{stage}/")]
    rows = []
    for name in dict.fromkeys(sorted(names)):
        values = [run.curves.get(name, []) for run in runs]
        rows.append([name, *(f"{points[-1][1]:.5g}" if points else "-" for points in values)])
    if not rows:
        return "<h2>Results</h2><p>None yet.</p>"
    return "<h2>Results</h2>" + _table(_heads(runs), rows, numbers=True)


def _curves(runs: Sequence[Run]) -> str:
    names = {name.partition("/")[2] for run in runs for name in run.curves if not name.startswith("test/")}
    # A baseline (knn_pixels) belongs into the figure of what it is compared with (knn).
    main = [name for name in sorted(names) if name.rpartition("_")[0] not in names]
    figures = [curve_svg(runs, name, [n for n in sorted(names) if n.rpartition("_")[0] == name]) for name in main]
    figures = [figure for figure in figures if figure]
    return f'<h2>Curves</h2><div class="grid">{"".join(figures)}</div>' if figures else ""


def curve_svg(runs: Sequence[Run], name: str, baselines: Sequence[str] = ()) -> str:
    """One metric of all runs by step: training thin, validation thick, baselines dotted; "" where no run has it."""
    figure = Figure(figsize=(4.6, 3.0))  # margins by hand: a layout engine takes as long as all the rest
    axes = figure.add_axes((0.15, 0.15, 0.82, 0.75))
    for run, colour in zip(runs, _COLOURS * len(runs), strict=False):
        which = f" {run.title}" if len(runs) > 1 else ""
        for stage, width, opacity in (("train", 1.0, 0.6), ("val", 1.8, 1.0)):
            points = _thin(run.curves.get(f"{stage}/{name}", []))
            mark = "o" if len(points) < 15 else ""
            if points:
                axes.plot(*zip(*points, strict=True), marker=mark, ls="-", ms=3, lw=width, alpha=opacity, color=colour,
                          label=f"{stage}{which}")  # fmt: skip
        for baseline, style in zip(baselines, ((0, (1, 1)), (0, (4, 2)), (0, (6, 1, 1, 1))), strict=False):
            points = run.curves.get(f"val/{baseline}", [])
            if points:
                axes.axhline(points[-1][1], color=colour, lw=1, ls=style, alpha=0.7, label=baseline + which)
    if not axes.lines:
        return ""
    axes.set_title(name, fontsize=10)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False)
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return f"<figure>{svg[svg.index('<svg') :]}</figure>"


def _thin(points: Points) -> Points:
    return points[:: -(-len(points) // _MOST_POINTS)] if points else []


def _figures(runs: Sequence[Run]) -> str:
    parts = []
    for name in dict.fromkeys(name for run in runs for name in run.figures):
        figures = []
        for run in (run for run in runs if name in run.figures):
            caption = f"{name} - {run.title}" if len(runs) > 1 else name
            data = base64.b64encode(run.figures[name].read_bytes()).decode()
            image = f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
            figures.append(f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>")
        parts.append("".join(figures) if len(runs) == 1 else f'<div class="grid">{"".join(figures)}</div>')
    if not parts:
        return ""
    body = f'<div class="grid">{"".join(parts)}</div>' if len(runs) == 1 else "".join(parts)
    return f"<h2>Figures</h2>{body}"


def _facts(runs: Sequence[Run]) -> str:
    shown = [name for run in runs for name, fact in run.facts.items() if not isinstance(fact, dict | float)]
    names = dict.fromkeys(name for name in shown if name != "command")
    rows = [[name.replace("_", " "), *(str(run.facts.get(name, "-")) for run in runs)] for name in names]
    return "<h2>The run</h2>" + _table(_heads(runs), rows) if rows else ""


def _details(run: Run, named: bool) -> str:
    which = f" of {escape(run.title)}" if named else ""
    command = run.facts.get("command")
    text = f"<h2>Command{which}</h2><pre>{escape(command)}</pre>" if command else ""
    if run.config:
        text += f"<details><summary>config.yaml{which}</summary><pre>{escape(run.config)}</pre></details>"
    return text


def write_page(runs: Sequence[Run], path: Path) -> None:
    """Write the page atomically."""
    text = page(runs)
    atomic_write(path, lambda tmp_path: Path(tmp_path).write_text(text, encoding="utf-8"))


def compare(folders: Sequence[str], out: str | None = None) -> Path:
    """Put runs on one page.

    Args:
        folders: Folders of the runs.
        out: Path of the page; by default ``report.html``, in the folder of the one run, or here for several.

    Raises:
        FileNotFoundError: a folder is not that of a run.
    """
    runs = [read_run(folder) for folder in folders]
    path = Path(out) if out else (runs[0].folder if len(runs) == 1 else Path()) / "report.html"
    write_page(runs, path)
    return path
