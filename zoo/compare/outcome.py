"""From cells to the answer: accuracies, gains and verdicts, as plain values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.compare.cells import PCA, PIXELS, UNTRAINED, Cell, Folder, unpack_bits
from zoo.compare.choice import Chosen, seeded
from zoo.compare.plan import Entry, Plan
from zoo.functional.label_worth import LabelWorth, label_worth
from zoo.functional.verdict import CANNOT_TELL, as_good_as_best, estimate, family_verdicts
from zoo.functional.verdict_plan import what_would_tell
from zoo.functional.verdict_text import label_worth_sentence, verdict_sentence, would_tell_sentence

WORDS = {1: "pays", 0: "cannot tell", -1: "does not pay"}
_SOURCES = {PIXELS: "raw inputs", PCA: "PCA of raw inputs"}


class Reported(NamedTuple):
    """Cells of one technique at one number of labels, without a seed, as they are reported."""

    technique: Entry
    labels: int
    way: Cell  # with pretraining
    without: Cell  # the best that needs none
    scratch: Cell  # the same network from scratch, at the best rate
    same: Cell  # the same network untrained, learned from in the same way
    knn: Cell


def reported(plan: Plan, folder: Folder, chosen: Chosen, better: Any) -> list[Reported]:
    """What is to be made for the table, for each technique that has a way.

    Args:
        plan: Plan.
        folder: Where results are.
        chosen: What was chosen at a number of labels.
        better: Function of two cells, the one that is better by validation, the first where they are alike.
    """
    rows = []
    for technique in plan.techniques:
        if technique.name not in chosen.ways:
            continue
        way, own = chosen.ways[technique.name], chosen.own.get(technique.name)
        without = better(chosen.without, own) if own else chosen.without
        same = way._replace(source=UNTRAINED, network=technique.network)
        knn = Cell(technique.name, "knn", 0.0, chosen.labels)
        rows.append(Reported(technique, chosen.labels, way, without, own or chosen.scratch, same, knn))
    return rows


class Answers(NamedTuple):
    """Right answers of cells, (S, n) bool, without the test samples that occur in training, too."""

    folder: Folder
    seeds: int
    kept: Tensor  # (n,) bool, of all test samples

    def of(self, cell: Cell) -> Tensor:
        """Right answers of a cell's seeds, (S, n) float64."""
        rows = [self._row(seeded(cell, seed)) for seed in range(self.seeds)]
        return torch.stack(rows)[:, self.kept].double()

    def _row(self, cell: Cell) -> Tensor:
        result = self.folder.read(cell)
        if result is None:
            raise ValueError(f"there is no result of {cell.name}")
        return unpack_bits(result["right"], result["samples"])


def table(
    plan: Plan, answers: Answers, rows: Sequence[Reported], curve: Sequence[tuple[int, Cell]], alpha: float = 0.05
) -> list[dict[str, Any]]:
    """The table's rows as plain values; accuracies and gains in points of percent.

    Args:
        plan: Plan.
        answers: Right answers.
        rows: What is reported.
        curve: Numbers of labels, ascending, and the best cell without pretraining at each.
        alpha: Error of intervals, and of the verdicts of all rows together.
    """
    with_, without = ([answers.of(getattr(row, name)) for row in rows] for name in ("way", "without"))
    if not rows:
        return []
    found = estimate(torch.stack([a - b for a, b in zip(with_, without, strict=True)]), alpha)
    told = family_verdicts(found, plan.worth, alpha) if answers.seeds > 2 else torch.zeros(len(rows), dtype=torch.int)
    curves = torch.stack([answers.of(cell) for _, cell in curve], 1)
    best = _as_good(rows, with_, alpha)
    out = []
    for i, row in enumerate(rows):
        worth = label_worth(with_[i], row.labels, curves, [labels for labels, _ in curve], alpha)
        values = {
            "technique": row.technique.name,
            "labels": row.labels,
            **_accuracy("accuracy", with_[i], alpha),
            **_accuracy("without", without[i], alpha),
            **_gain("gain", found.gain[i], found.low[i], found.high[i]),
            "verdict": WORDS[int(told[i])],
            "as_good_as_best": best[i],
            **_gain("over_scratch", *estimate(with_[i] - answers.of(row.scratch), alpha)[:3]),
            **_gain("over_untrained", *estimate(with_[i] - answers.of(row.same), alpha)[:3]),
            "knn": 100 * answers.of(row.knn).mean().item(),
            **_worth(worth),
            "way": written(row.way),
            "without_way": written(row.without),
            **_costs(plan, answers, row),
        }
        told_of = plan, row, values, with_[i] - without[i]
        values["sentence"] = _sentence(*told_of, int(told[i]), worth, alpha, len(rows))
        out.append(values)
    return out


def features(plan: Plan, folder: Folder, failures: Mapping[str, str]) -> list[dict[str, Any]]:
    """Effective rank, spread and dimension of each technique's features, and minutes: means of its pretrainings."""
    rows = []
    for entry in plan.techniques:
        cells = [cell for cell in plan.pretrainings_of(plan.seeds) if cell.source == entry.name]
        made = [result for cell in cells if (result := folder.read(cell))]
        if made and entry.name not in failures:
            names = ("rank_me", "dimension", "spread")
            means = {name: _mean([result[name] for result in made]) for name in names}
            minutes = _mean([result["training_seconds"] for result in made]) / 60
            rows.append({"technique": entry.name, **means, "minutes": minutes, "pretrainings": len(made)})
    return rows


def _as_good(rows: Sequence[Reported], right: Sequence[Tensor], alpha: float) -> list[bool]:
    """Whether the data do not put a technique behind another at its number of labels."""
    good = [True] * len(rows)
    for labels in dict.fromkeys(row.labels for row in rows):
        places = [i for i, row in enumerate(rows) if row.labels == labels]
        for i, kept in zip(
            places, as_good_as_best(torch.stack([right[i] for i in places]), alpha).tolist(), strict=True
        ):
            good[i] = kept
    return good


def _accuracy(name: str, right: Tensor, alpha: float) -> dict[str, float]:
    found = estimate(right, alpha)
    low, high = max(0.0, float(found.low)), min(100.0, float(found.high))
    return {name: float(found.gain), f"{name}_low": low, f"{name}_high": high}


def _gain(name: str, gain: Tensor, low: Tensor, high: Tensor) -> dict[str, float | None]:
    bounds = {f"{name}_low": float(low), f"{name}_high": float(high)}
    return {name: float(gain), **{end: value if math.isfinite(value) else None for end, value in bounds.items()}}


def _worth(worth: LabelWorth) -> dict[str, Any]:
    high = worth.high if math.isfinite(worth.high) else None
    return {"times_labels": worth.times, "times_labels_low": worth.low, "times_labels_high": high}


def written(cell: Cell) -> str:
    """A way in words: "lp_ft at 0.001"; of what needs no pretraining its source, too."""
    if cell.source in _SOURCES:
        return f"{_SOURCES[cell.source]}, probe"
    way = f"{cell.mode} at {cell.rate:g}" if cell.rate else cell.mode
    if cell.source != UNTRAINED:
        return way
    return "untrained network, probe" if cell.mode == "probe" else "scratch, " + way.replace("full ", "")


def _costs(plan: Plan, answers: Answers, row: Reported) -> dict[str, Any]:
    """Steps, planned and measured minutes of a pretraining, mean minutes of a tuning, and collapsed pretrainings."""
    folder, seeds = answers.folder, answers.seeds
    numbers = {plan.pretraining(row.technique, seed) for seed in range(seeds)} if row.technique.path else set()
    made = [result for cell in numbers if (result := folder.read(cell))]
    tuned = [result for seed in range(seeds) if (result := folder.read(seeded(row.way, seed)))]
    return {
        "steps": max((result["steps"] for result in made), default=0),
        "planned_minutes": row.technique.seconds / 60,
        "minutes": _mean([result["training_seconds"] for result in made]) / 60,
        "tuning_minutes": _mean([result["seconds"] for result in tuned]) / 60,
        "pretrainings": len(made),
        "collapsed": sum(result["collapsed"] for result in made),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _sentence(
    plan: Plan,
    row: Reported,
    values: dict[str, Any],
    difference: Tensor,
    verdict: int,
    worth: LabelWorth,
    alpha: float,
    family: int,
) -> str:
    low, high = (values[f"gain_{end}"] for end in ("low", "high"))
    interval = (values["gain"], -math.inf if low is None else low, math.inf if high is None else high)
    labels = f"{row.labels} label{'s' if row.labels > 1 else ''} a class"
    seconds = 60 * values["minutes"] if row.technique.steps else None  # not of what takes no budget
    encoders = plan.shared(row.technique, len(difference))
    parts = [verdict_sentence(verdict, interval, row.technique.name, labels, seconds, plan.worth, family, encoders)]
    if verdict == CANNOT_TELL and len(difference) > 1:
        parts.append(would_tell_sentence(what_would_tell(difference, plan.worth, alpha / family)))
    elif values["gain"] > 0:
        parts.append(label_worth_sentence(worth))
    return " ".join(parts)
