"""Geometry of the two charts of a comparison of techniques: accuracy against labels, and gains."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from callbacks.run import charts
from zoo.core.findings import NUMBER, Interval

PAYS, CANNOT_TELL, DOES_NOT_PAY = VERDICTS = ("pays", "cannot tell", "does not pay")
_NEAR = 6  # per cent of the axis: a tick that is nearer to its neighbour is left out


class Measured(NamedTuple):
    """An accuracy in per cent."""

    labels: int  # a class
    accuracy: float
    interval: Interval | None


class Line(NamedTuple):
    """Accuracies of one technique, by ascending number of labels."""

    title: str
    points: tuple[Measured, ...]


class LabelLine(NamedTuple):
    """A line of the plot; places in per cent of its width and height, from the upper left corner."""

    title: str
    number: int | None  # by which its colour and shape are chosen; None is what needs no pretraining
    points: str  # as SVG reads them
    band: str  # outline of the intervals, "" where fewer than two points have one
    marks: tuple[tuple[float, float], ...]
    bars: tuple[tuple[float, float, float], ...]  # place, and heights of an interval's ends


class LabelPlot(NamedTuple):
    """Accuracy against labels a class, on a logarithmic scale."""

    lines: tuple[LabelLine, ...]
    x_ticks: charts.Ticks
    y_ticks: charts.Ticks

    @property
    def legend(self) -> list[LabelLine]:
        """Lines from top to bottom as they end in the plot; what needs no pretraining is last."""
        return sorted(self.lines, key=lambda line: (line.number is None, line.marks[-1][1]))


def interval(row: Mapping[str, Any], name: str) -> Interval | None:
    """The interval of a row's number; None of a single seed, which has none."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return None if None in (low, high, row["gain_low"]) else (low, high)


def technique_lines(rows: Sequence[Mapping[str, Any]]) -> list[Line]:
    """A line for each technique, in the order in which rows name them."""
    lines = []
    for name in dict.fromkeys(row["technique"] for row in rows):
        own = sorted((row for row in rows if row["technique"] == name), key=lambda row: row["labels"])
        lines.append(Line(name, tuple(Measured(r["labels"], r["accuracy"], interval(r, "accuracy")) for r in own)))
    return lines


def label_plot(lines: Sequence[Line], curve: Sequence[Mapping[str, float]]) -> LabelPlot | None:
    """Place accuracies; None where there are none.

    Args:
        lines: Techniques.
        curve: Accuracies without pretraining, mappings of ``labels`` and ``accuracy``.
    """
    without = [Measured(int(point["labels"]), point["accuracy"], None) for point in curve]
    points = [*without, *(point for line in lines for point in line.points)]
    if not points:
        return None
    heights = [p.accuracy for p in points] + [end for p in points if p.interval for end in p.interval]
    margin = 0.04 * (max(heights) - min(heights)) or 1.0
    low, high = max(0.0, min(heights) - margin), min(100.0, max(heights) + margin)
    logs = [math.log(p.labels) for p in points]
    across, up = _scale(min(logs), max(logs), 2, 98), _scale(low, high, 100, 0)
    placed = [_placed(line, i, across, up) for i, line in enumerate(lines)]
    if without:
        placed.append(_placed(Line("without pretraining", tuple(without)), None, across, up))
    ticks = _spaced([(across(math.log(count)), f"{count:,}") for count in sorted({p.labels for p in points})])
    y_ticks = tuple((up(tick), charts.tick_text(tick)) for tick in charts.nice_ticks(low, high, 10))
    return LabelPlot(tuple(placed), ticks, y_ticks)


def _scale(low: float, high: float, begin: float, end: float) -> charts.Scale:
    """A function from [low, high] to [begin, end]."""
    span = high - low
    return lambda value: round(begin + (end - begin) * ((value - low) / span if span else 0.5), 2)


def _placed(line: Line, number: int | None, across: charts.Scale, up: charts.Scale) -> LabelLine:
    marks = [(across(math.log(p.labels)), up(p.accuracy)) for p in line.points]
    bars = [(across(math.log(p.labels)), up(p.interval[0]), up(p.interval[1])) for p in line.points if p.interval]
    outline = [(x, low) for x, low, _ in bars] + [(x, high) for x, _, high in reversed(bars)]
    band = _text(outline) if len(bars) > 1 else ""
    return LabelLine(line.title, number, _text(marks), band, tuple(marks), tuple(bars))


def _text(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in places)


def _spaced(ticks: Sequence[tuple[float, str]]) -> charts.Ticks:
    """Those that have room beside the one before."""
    kept: list[tuple[float, str]] = []
    for tick in ticks:
        if not kept or tick[0] - kept[-1][0] >= _NEAR:
            kept.append(tick)
    return tuple(kept)


def gain_plot(rows: Sequence[Mapping[str, Any]], worth: float) -> charts.DotPlot | None:
    """Gains with their intervals on one scale, which also holds 0 and the smallest gain worth having."""
    dots = [
        charts.Row(row["technique"], row["gain"], interval(row, "gain"), kind=kind(row["verdict"]), text=gain_text(row))
        for row in rows
    ]
    return charts.dot_plot(dots, NUMBER, marks=(0.0, worth))


def kind(verdict: str) -> str:
    """A verdict's class in the style sheet."""
    return verdict.replace(" ", "-")


def gain_text(row: Mapping[str, Any], name: str = "gain") -> str:
    """A gain and its interval: "+4.1 (+2.9 to +5.3)"."""
    bounds = interval(row, name)
    return signed(row[name]) + (f" ({signed(bounds[0])} to {signed(bounds[1])})" if bounds else "")


def signed(value: float) -> str:
    """A gain in points, always with its sign."""
    return f"{round(value, 1) + 0.0:+.1f}"  # + 0.0: no "-0.0"
