"""The two figures of a comparison of techniques as PNG files, for slides and papers."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from callbacks.run.compared_charts import CANNOT_TELL, DOES_NOT_PAY, PAYS, Line, gain_text, interval
from callbacks.run.compared_text import counted

COLOURS = ("#2563d6", "#d96a00", "#009e6b", "#b070b5", "#5b1a78", "#7d3209")  # of the style sheet
MARKERS = "os^Dv"  # as many as are no multiple of the colours, so that 30 techniques differ
VERDICT_COLOURS = {PAYS: COLOURS[0], CANNOT_TELL: "#7b8894", DOES_NOT_PAY: COLOURS[1]}


def accuracy_figure(lines: Sequence[Line], curve: Sequence[Mapping[str, float]]) -> Figure | None:
    """Accuracy against labels a class, a line and a band for each technique; None where there are none.

    Args:
        lines: Techniques.
        curve: Accuracies without pretraining, mappings of ``labels`` and ``accuracy``.
    """
    if not lines and not curve:
        return None
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    for i, line in enumerate(lines):
        _draw_line(axes, line, COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)])
    if curve:
        labels, accuracies = zip(*((point["labels"], point["accuracy"]) for point in curve), strict=True)
        axes.plot(labels, accuracies, "k--o", label="without pretraining", markersize=4)
    counts = sorted({p.labels for line in lines for p in line.points} | {int(point["labels"]) for point in curve})
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="labels a class", ylabel="accuracy, %")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _draw_line(axes: Axes, line: Line, colour: str, marker: str) -> None:
    labels = [p.labels for p in line.points]
    axes.plot(labels, [p.accuracy for p in line.points], color=colour, marker=marker, label=line.title)
    known = [(p.labels, *p.interval) for p in line.points if p.interval]
    if known:
        x, low, high = zip(*known, strict=True)
        axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.vlines(x, low, high, color=colour, alpha=0.5)


def gain_figure(groups: Mapping[int, Sequence[Mapping[str, Any]]], worth: float) -> Figure | None:
    """Gains with their intervals by number of labels, 0 and the smallest gain worth having; None without rows.

    Args:
        groups: Rows by number of labels a class, in the order from top to bottom.
        worth: The smallest gain worth having, in points.
    """
    count = sum(map(len, groups.values())) + len(groups)  # lines, with the groups' titles
    if not groups:
        return None
    figure = Figure(figsize=(9, 0.9 + 0.27 * count), layout="constrained")
    axes = figure.add_subplot()
    names: list[str] = []
    for labels, rows in groups.items():
        names.append(f"{counted(labels, 'label')} a class")
        for row in rows:
            _draw_gain(axes, row, len(names))
            names.append(row["technique"])
    axes.axvline(0, color="black", linewidth=1)
    axes.axvline(worth, color="black", linewidth=1, linestyle="--")
    axes.set_yticks(range(count), names)
    for text in axes.get_yticklabels():
        if text.get_text().endswith(" a class"):
            text.set_fontweight("bold")
    axes.set_ylim(count - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.set_xlabel(f"gain in points; dashed: {worth:g}, the smallest worth having")
    return figure


def _draw_gain(axes: Axes, row: Mapping[str, Any], place: int) -> None:
    colour, bounds = VERDICT_COLOURS[row["verdict"]], interval(row, "gain")
    if bounds:
        axes.hlines(place, *bounds, color=colour, linewidth=2.5)
    face = "white" if row["verdict"] == CANNOT_TELL else colour
    axes.plot(row["gain"], place, "o", color=colour, markerfacecolor=face, markeredgewidth=2)
    text = f"{row['verdict']}: {gain_text(row)}"
    axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8)
