"""The table of a comparison of techniques."""

from collections.abc import Mapping, Sequence
from typing import Any

from callbacks.run.compared_charts import interval, signed
from callbacks.run.run_groups import NOTHING

HEADS = (
    "technique",
    "accuracy, %",
    "best without pretraining, %",
    "gain, points",
    "verdict",
    "gain over the same network from scratch",
    "gain over that network untrained, used in the same way",
    "nearest neighbours, %",
    "worth in labels",
    "way",
    "pretraining, planned",
    "pretraining, measured",
    "fine-tuning",
    "steps of pretraining",
)
_ROUNDING = 1e-6

Cell = tuple[str, str]  # what is read first, and what stands below it, smaller


def table_row(row: Mapping[str, Any], curve: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """A row of the table, a cell for each of ``HEADS`` but the first.

    Args:
        row: A technique at a number of labels.
        curve: Accuracies without pretraining, by ascending number of labels.
    """
    bounds = interval(row, "accuracy")
    cells: list[Cell] = [
        (f"{row['accuracy']:.1f}", f"{bounds[0]:.1f} to {bounds[1]:.1f}" if bounds else ""),
        (f"{row['without']:.1f}", row["without_way"]),
        _gain(row, "gain"),
        (row["verdict"], ""),
        _gain(row, "over_scratch"),
        _gain(row, "over_untrained"),
        (f"{row['knn']:.1f}", ""),
        times_labels(row, curve),
        (row["way"], ""),
        (_time(row["planned_minutes"]), ""),
        (_time(row["minutes"]) if row["pretrainings"] else NOTHING, ""),
        (_time(row["tuning_minutes"]), ""),
        (f"{row['steps']:,}" if row["steps"] else NOTHING, ""),
    ]
    return {"title": row["technique"], "best": _as_good(row), "cells": cells}


def _as_good(row: Mapping[str, Any]) -> bool:
    """Whether it is as good as the best; a single seed, of which all would be, shows nothing."""
    return bool(row["as_good_as_best"]) and row["gain_low"] is not None


def _gain(row: Mapping[str, Any], name: str) -> Cell:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return signed(row[name]), "" if low is None or high is None else f"{signed(low)} to {signed(high)}"


def times_labels(row: Mapping[str, Any], curve: Sequence[Mapping[str, float]]) -> Cell:
    """How many times the labels the same accuracy takes without pretraining, with its interval.

    Beyond the ends of the curve it is a bound. An end of the interval is open where some seed lies beyond; of a single
    seed both are, and whether it lies beyond is seen from its place.
    """
    times, low, high = row["times_labels"], row["times_labels_low"], row["times_labels_high"]
    ends = [point["labels"] / row["labels"] for point in (curve[0], curve[-1])] if curve else [times, times]
    single = row["gain_low"] is None
    above = high is None and (not single or times >= ends[1] * (1 - _ROUNDING))
    below = low == 0 and (not single or times <= ends[0] * (1 + _ROUNDING))
    if above and below:
        return "cannot be said", ""
    text = f"{'at least ' if above else 'at most ' if below else ''}{_number(times)} times"
    if single:
        return text, ""
    if above or below:
        return text, f"{_number(low)} or more" if low else f"{_number(high)} or fewer" if high else ""
    return text, f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _time(minutes: float) -> str:
    """Minutes as a cell shows them; 0 is not known."""
    if not minutes:
        return NOTHING
    return f"{minutes:.1f} min" if minutes >= 1 else f"{60 * minutes:.0f} s" if minutes >= 1 / 60 else "< 1 s"


def table_words(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is to be known to read the table."""
    bold = (
        "Bold: as good as the best, for all that the data tell: they show no other technique to be better with as many "
        "labels. One that is the best in truth is in bold at least 95 times of 100."
    )
    return [
        *([bold] if any(map(_as_good, rows)) else []),
        "Worth in labels: how many times the labels the same accuracy takes without pretraining. Nearest neighbours: "
        "accuracy of the pretrained features when a sample gets the class of the labelled ones nearest to it.",
        "Ways: probe is a linear model on fixed features; full trains the whole network; lp_ft its head first, then "
        "the whole; scratch begins with random weights; longer has the time of a pretraining added. Behind them is the "
        "learning rate.",
    ]
