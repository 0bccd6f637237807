"""Geometry of the report's charts; ``templates/charts.html.jinja`` draws them as SVG."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from zoo.core.findings import PERCENT, Finding, Interval, write_value

Points = Sequence[tuple[float, float]]  # (step, value)
Ticks = tuple[tuple[float, str], ...]  # place and text
Scale = Callable[[float], float]

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 340, 190, 52, 24, 8  # of curves, in pixels
_FLAT = 0.2  # a value without which a plot's range is less than this share of itself is left out
BUCKETS = 100  # of a curve: of each its smallest and its largest value are drawn


class Dot(NamedTuple):
    """A row of a dot plot; places in per cent of the plot's width."""

    title: str
    text: str  # the value as written
    place: float
    bar: tuple[float, float] | None  # ends of the interval
    highlighted: bool
    kind: str  # its class in the style sheet


class DotPlot(NamedTuple):
    """Values with their intervals beside each other, and the band in which a difference is chance."""

    dots: tuple[Dot, ...]
    ticks: Ticks
    band: tuple[float, float] | None
    marks: tuple[float, ...]  # places of values to compare with


class Row(NamedTuple):
    """What a dot plot is made of."""

    title: str
    value: float
    interval: Interval | None = None
    highlighted: bool = False
    baseline: bool = False  # what the verdict is against, which stays
    kind: str = ""  # class in the style sheet, where it is neither "mine" nor "other"
    text: str = ""  # in place of the value


def plot_rows(finding: Finding) -> list[Row]:
    """A finding and what it is compared with, as rows of a plot."""
    rows = [Row(finding.title, finding.value, finding.interval, True)]
    return rows + [Row(r.title, r.value, r.interval, baseline=r.baseline) for r in finding.references]


def on_scale(rows: Sequence[Row]) -> tuple[list[Row], Row | None]:
    """Leave out the reference that is so far from the rest that all else would look the same; at least two rows stay.

    Returns:
        Rows that stay, and the one left out.
    """
    without = {i: [*rows[:i], *rows[i + 1 :]] for i, row in enumerate(rows) if not (row.highlighted or row.baseline)}
    farthest = min(without, key=lambda i: _span(without[i]), default=None)
    if farthest is None or len(rows) < 3 or not _span(without[farthest]) < _FLAT * _span(rows):
        return list(rows), None
    return without[farthest], rows[farthest]


def _span(rows: Sequence[Row]) -> float:
    values = [row.value for row in rows if math.isfinite(row.value)]
    return max(values, default=0.0) - min(values, default=0.0)


def dot_plot(
    rows: Sequence[Row], unit: str, band: Interval | None = None, marks: Sequence[float] = ()
) -> DotPlot | None:
    """Place values on a common scale; None where none is finite, or a single one has nothing to be compared with.

    Args:
        rows: Values, from top to bottom.
        unit: Unit of the values, see ``zoo.core.findings``.
        band: Range of values in which a difference is chance.
        marks: Values to compare with, at which a line is drawn.
    """
    rows = [row for row in rows if math.isfinite(row.value)]
    if not rows or len(rows) + len(marks) < 2:
        return None
    rows, band = [row._replace(interval=_finite(row.interval)) for row in rows], _finite(band)
    ranges = [interval for interval in (*(row.interval for row in rows), band) if interval]
    ends = [*marks, *(row.value for row in rows), *(end for interval in ranges for end in interval)]
    low, high = _padded(min(ends), max(ends), unit)

    def place(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 2)

    def places(interval: Interval | None) -> Interval | None:
        return (place(interval[0]), place(interval[1])) if interval else None

    dots = []
    for row in rows:
        text, kind = row.text or write_value(row.value, unit), row.kind or ("mine" if row.highlighted else "other")
        dots.append(Dot(row.title, text, place(row.value), places(row.interval), row.highlighted, kind))
    ticks = [(place(tick), tick_text(tick, unit)) for tick in nice_ticks(low, high)]
    return DotPlot(tuple(dots), tuple(ticks), places(band), tuple(map(place, marks)))


def _finite(interval: Interval | None) -> Interval | None:
    return interval if interval and all(map(math.isfinite, interval)) else None


def _padded(low: float, high: float, unit: str) -> tuple[float, float]:
    margin = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    low, high = low - margin, high + margin
    return (max(0.0, low), min(1.0, high)) if unit == PERCENT and high - margin <= 1 else (low, high)


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers within a range, about ``count`` of them."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return []
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.99)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def tick_text(value: float, unit: str = "") -> str:
    """A number at an axis."""
    if unit == PERCENT:
        return f"{100 * value:.4g} %"
    if abs(value) >= 10_000 and value == int(value):
        return f"{value / 1000:,.4g}k"
    return f"{value:.4g}"


class Line(NamedTuple):
    """A curve: its name in the legend, its class and colour in the style sheet, its points as SVG reads them."""

    title: str
    kind: str  # train, val, baseline
    colour: int  # number of the run
    points: str
    single: tuple[float, float] | None  # place of the only point


class Curve(NamedTuple):
    """A metric by step."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: Ticks
    y_ticks: Ticks
    logarithmic: bool


class Series(NamedTuple):
    """What a curve's line is made of."""

    title: str
    kind: str
    colour: int
    points: Points


def curve(title: str, series: Sequence[Series], buckets: int = BUCKETS) -> Curve | None:
    """Draw a metric; values that are not finite are left out. None where no line has three points.

    Args:
        title: The metric.
        series: Lines; those of kind ``baseline`` are drawn at the height of their last point.
        buckets: Number of parts of a line, of each of which two points are drawn.
    """
    finite = [s._replace(points=[p for p in s.points if math.isfinite(p[1])]) for s in series]
    finite = [s for s in finite if s.points]
    if not any(len(s.points) >= 3 for s in finite if s.kind != "baseline"):
        return None
    steps = [step for s in finite if s.kind != "baseline" for step, _ in s.points]
    values = [value for s in finite for _, value in (s.points[-1:] if s.kind == "baseline" else s.points)]
    logarithmic = min(values) > 0 and max(values) > 50 * min(values)
    x = _scale(min(steps), max(steps), LEFT, WIDTH - 8)
    y = _scale(_level(min(values), logarithmic), _level(max(values), logarithmic), HEIGHT - BOTTOM, TOP)
    lines = []
    for s in finite:
        ends = [(min(steps), s.points[-1][1]), (max(steps), s.points[-1][1])]
        chosen = ends if s.kind == "baseline" else thinned(s.points, buckets)
        places = [(x(step), y(_level(value, logarithmic))) for step, value in chosen]
        text = " ".join(f"{px:g},{py:g}" for px, py in places)
        lines.append(Line(s.title, s.kind, s.colour, text, places[0] if len(places) == 1 else None))
    return Curve(title, tuple(lines), *_axes(steps, values, logarithmic, x, y), logarithmic)


def _axes(steps: list[float], values: list[float], logarithmic: bool, x: Scale, y: Scale) -> tuple[Ticks, Ticks]:
    """Ticks of both axes."""
    low, high = _level(min(values), logarithmic), _level(max(values), logarithmic)
    heights = nice_ticks(low, high, 3)
    if logarithmic:
        heights = [h for h in heights if h == int(h)] or [low, high]
    texts = [tick_text(10**h if logarithmic else h) for h in heights] if high > low else [tick_text(values[0])]
    places = [y(h) for h in heights] if high > low else [y(low)]
    x_ticks = [(x(step), tick_text(step)) for step in nice_ticks(min(steps), max(steps), 3)]
    return tuple(x_ticks), tuple(zip(places, texts, strict=True))


def _level(value: float, logarithmic: bool) -> float:
    return math.log10(value) if logarithmic else value


def _scale(low: float, high: float, begin: float, end: float) -> Scale:
    """A function from [low, high] to [begin, end], in tenths of a pixel."""
    span = high - low
    return lambda value: round(begin + (end - begin) * ((value - low) / span if span else 0.5), 1)


def thinned(points: Points, buckets: int = BUCKETS) -> Points:
    """Of a long curve the smallest and the largest value of each part, so that spikes stay; first and last are kept."""
    if len(points) <= 2 * buckets:
        return points
    size = -(-len(points) // buckets)
    chosen = {0, len(points) - 1}
    for begin in range(0, len(points), size):
        part = range(begin, min(begin + size, len(points)))
        chosen |= {min(part, key=lambda i: points[i][1]), max(part, key=lambda i: points[i][1])}
    return [points[i] for i in sorted(chosen)]
