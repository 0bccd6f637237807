import math

import pytest

from callbacks.run.charts import HEIGHT, WIDTH, Row, Series, curve, dot_plot, nice_ticks, thinned, tick_text
from zoo.core.findings import NUMBER, PERCENT


def test_places_are_linear_and_within_the_plot():
    rows = [Row("a", 0.5, (0.4, 0.6), True), Row("b", 0.7), Row("c", 0.9)]
    plot = dot_plot(rows, PERCENT, (0.65, 0.75))
    places = [dot.place for dot in plot.dots]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.02)
    assert plot.dots[0].bar[0] < places[0] < plot.dots[0].bar[1] and plot.dots[1].bar is None
    assert plot.band[0] < places[1] < plot.band[1]
    assert all(0 <= x <= 100 for x in [*places, *plot.dots[0].bar, *(tick for tick, _ in plot.ticks)])
    assert [dot.text for dot in plot.dots] == ["50.0 %", "70.0 %", "90.0 %"]


@pytest.mark.parametrize("values", [[math.nan, 0.5], [0.5], [], [math.inf, 1, math.nan]])
def test_what_is_not_finite_has_no_place(values):
    assert dot_plot([Row("a", value) for value in values], NUMBER) is None


def test_equal_values_and_infinite_intervals_are_drawn():
    plot = dot_plot([Row("a", 3.0, (math.nan, 4)), Row("b", 3.0)], NUMBER, (math.nan, 2))
    assert plot.dots[0].bar is None and plot.band is None and plot.dots[0].place == plot.dots[1].place == 50
    assert dot_plot([Row("a", 1.0), Row("b", 1.0)], PERCENT) and dot_plot([Row("a", 0.0), Row("b", 0.0)], NUMBER)


def test_marks_are_on_the_scale_and_rows_may_have_a_kind_and_a_text_of_their_own():
    plot = dot_plot(
        [Row("a", 4.0, kind="pays", text="+4.0"), Row("b", 3.0, highlighted=True)], NUMBER, marks=(0.0, 2.0)
    )
    places = [plot.marks[0], plot.marks[1], plot.dots[0].place]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.02) and places[0] >= 0
    assert [(dot.kind, dot.text) for dot in plot.dots] == [("pays", "+4.0"), ("mine", "3")]
    assert dot_plot([Row("a", 4.0)], NUMBER, marks=(0.0,)) and dot_plot([Row("a", 4.0)], NUMBER) is None
    assert dot_plot([], NUMBER, marks=(0.0, 1.0)) is None


@pytest.mark.parametrize(
    "low, high, ticks",
    [
        (0, 1, [0, 0.5, 1]),
        (0.72, 1.0, [0.8, 0.9, 1.0]),
        (-3, 9, [0, 5]),
        (1e-7, 3e-7, [1e-7, 1.5e-7, 2e-7, 2.5e-7, 3e-7]),
    ],
)
def test_ticks_are_round_numbers(low, high, ticks):
    assert nice_ticks(low, high) == pytest.approx(ticks, abs=1e-20)


def test_no_ticks_where_there_is_no_range():
    assert nice_ticks(1, 1) == nice_ticks(0, math.inf) == nice_ticks(math.nan, 1) == []


def test_numbers_at_an_axis_are_short():
    assert [tick_text(x) for x in (0, 0.25, 1500, 20_000, 1e-5)] == ["0", "0.25", "1500", "20k", "1e-05"]
    assert tick_text(0.925, PERCENT) == "92.5 %"


def test_curves_of_fewer_than_three_points_are_none():
    assert curve("loss", [Series("training", "train", 0, [(1, 2.0), (2, 1.0)])]) is None
    assert curve("loss", [Series("training", "train", 0, [(1, 2.0), (2, 1.0), (3, math.nan)])]) is None
    assert curve("loss", [Series("pixels", "baseline", 0, [(1, 2.0)] * 5)]) is None


def test_a_curve_is_within_its_frame_and_baselines_are_level():
    points = [(step, 0.1 * step) for step in range(1, 6)]
    drawn = curve("probe", [Series("v", "val", 0, points), Series("pixels", "baseline", 0, [(1, 0.3), (5, 0.4)])])
    places = [tuple(map(float, pair.split(","))) for pair in drawn.lines[0].points.split()]
    assert len(places) == 5 and all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
    assert places[0][1] > places[-1][1], "larger values are higher"
    heights = {pair.split(",")[1] for pair in drawn.lines[1].points.split()}
    assert len(heights) == 1 and float(heights.pop()) == places[3][1]
    assert not drawn.logarithmic and curve("x", [Series("v", "val", 0, [(i, 7.0) for i in range(3)])])


def test_values_over_decades_are_logarithmic():
    drawn = curve("loss", [Series("v", "val", 0, [(i, 10.0**-i) for i in range(4)])])
    heights = [float(pair.split(",")[1]) for pair in drawn.lines[0].points.split()]
    assert drawn.logarithmic and heights[1] - heights[0] == pytest.approx(heights[3] - heights[2], abs=0.2)
    assert [text for _, text in drawn.y_ticks] == ["0.001", "0.01", "0.1", "1"]


def test_thinning_keeps_spikes_and_ends():
    points = [(i, 0.0) for i in range(10_000)]
    points[5003] = (5003, 99.0)
    short = thinned(points)
    assert len(short) <= 202 and (5003, 99.0) in short and short[0] == points[0] and short[-1] == points[-1]
    assert short == sorted(short) and thinned(points[:150]) == points[:150]
