"""A comparison from its plan to its files: pretrain, choose by validation, report, and say what it means."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

from zoo.compare.cells import PCA, PIXELS, UNTRAINED, Cell, Folder
from zoo.compare.choice import Chosen, choose, seeded, validated
from zoo.compare.outcome import WORDS, Answers, Reported, features, reported, table
from zoo.compare.plan import Plan
from zoo.compare.planning import copied
from zoo.compare.pool import Run, runner
from zoo.compare.trainings import Work
from zoo.core.duration import duration
from zoo.functional.seed_checks import seed_warnings
from zoo.functional.verdict import CANNOT_TELL

Say = Callable[[str], None]
_INTERVAL = 10.0  # seconds between lines of progress
_BESIDE = 1.0  # seconds that a cell takes beside its steps, about


class Outcome(NamedTuple):
    """What a comparison found.

    Args:
        rows: Rows of the table, as ``zoo.compare.outcome.table`` gives them.
        features: For each technique measures of its features that need no labels, the mean of its pretrainings.
        curve: Accuracies without pretraining by number of labels.
        failures: Messages of the techniques that failed, by name.
        warnings: What makes the numbers less than they seem.
        seeds: Number of seeds that were needed.
        alpha: Error of intervals: of one look, where there may be several.
        copies: Test samples that occur among the training samples, and were left out.
        tested: Test samples that were not.
    """

    rows: list[dict[str, Any]]
    features: list[dict[str, Any]]
    curve: list[dict[str, float]]
    failures: dict[str, str]
    warnings: list[str]
    seeds: int
    alpha: float
    copies: int
    tested: int


class Progress:
    """Lines that say how far the comparison is: of the trainings that are not there yet, each as long as planned."""

    def __init__(self, work: Work, say: Say) -> None:
        missing = [cell for cell in dict.fromkeys(work.plan.expected_cells) if not work.folder.result(cell).exists()]
        self.say, self.plan, self.total = say, work.plan, len(missing)
        self.ahead = sum(map(self._seconds, missing))
        self.done, self.behind = 0, 0.0
        self.began = self.last = time.monotonic()

    def _seconds(self, cell: Cell) -> float:
        return self.plan.expected_seconds(cell) + _BESIDE

    def __call__(self, cell: Cell) -> None:
        self.done, self.behind = self.done + 1, self.behind + self._seconds(cell)
        now = time.monotonic()
        if now - self.last < _INTERVAL:
            return
        self.last, gone = now, now - self.began
        left = gone / self.behind * max(0, self.ahead - self.behind)
        times = f"{duration(gone)} gone, about {duration(left)} left"
        self.say(f"{self.done} of about {max(self.done, self.total)} trainings, {times}: {cell.name}")


def compare(work: Work, pool: Executor | None, say: Say) -> Outcome:
    """Make all that is missing of a comparison, and its table; look after look, until every verdict is there.

    Raises:
        ValueError: nothing can be compared.
    """
    run = runner(work, pool, Progress(work, say))
    if not work.plan.labels:
        failures = _failed(work.plan, run([(cell, "val") for cell in work.plan.pretrainings_of(work.plan.seeds)]))
        return Outcome([], features(work.plan, work.folder, failures), [], failures, [], work.plan.seeds, 0.05, 0, 0)
    kept = ~copied(work.data)
    for seeds, alpha in work.plan.looks:
        outcome = _look(work, run, Answers(work.folder, seeds, kept), alpha)
        if all(row["verdict"] != WORDS[CANNOT_TELL] for row in outcome.rows):
            break
    return outcome


def _look(work: Work, run: Run, answers: Answers, alpha: float) -> Outcome:
    """All cells of the first seeds, and what they say."""
    plan, folder, seeds = work.plan, work.folder, answers.seeds
    copies, tested = int((~answers.kept).sum()), int(answers.kept.sum())
    failures = _failed(plan, run([(cell, "val") for cell in plan.pretrainings_of(seeds)]))
    able, chosen = [t for t in plan.techniques if t.name not in failures], []
    if not able:
        return Outcome([], [], [], failures, [], seeds, alpha, copies, tested)
    for labels in plan.labels:
        choice, failed = choose(plan, folder, run, labels, able)
        failures = {**_failed(plan, failed), **failures}
        chosen.append(choice)
    rows = [row for choice in chosen for row in reported(plan, folder, choice, _better(folder))]
    cells = [cell for row in rows for cell in (row.way, row.without, row.scratch, row.same, row.knn)]
    failed = run([(seeded(cell, seed), "test") for cell in cells for seed in range(seeds)])
    failures = {**_failed(plan, failed), **failures}
    curve = _curve(work, run, chosen, seeds)
    rows = [row for row in rows if row.technique.name not in failures]
    found = table(plan, answers, rows, curve, alpha)
    accuracies = [{"labels": labels, "accuracy": 100 * answers.of(cell).mean().item()} for labels, cell in curve]
    told = warnings(work.data, answers, rows)
    return Outcome(found, features(plan, folder, failures), accuracies, failures, told, seeds, alpha, copies, tested)


def _failed(plan: Plan, failures: dict[Cell, str]) -> dict[str, str]:
    """Messages of techniques that failed, by name; also of those whose own network failed without their weights.

    Raises:
        ValueError: what all are compared with failed.
    """
    found: dict[str, str] = {}
    for cell, message in failures.items():
        names = [cell.source]
        if cell.source in (UNTRAINED, PIXELS, PCA):
            own = cell.network not in ("", plan.network)
            names = [entry.name for entry in plan.techniques if own and entry.network == cell.network]
        if not names:
            raise ValueError(f"what needs no pretraining failed: {message}")
        for name in names:
            found.setdefault(name, message)  # the first of each
    return found


def warnings(data: Any, answers: Answers, rows: Sequence[Reported]) -> list[str]:
    """What makes the numbers less than they seem: seeds far from the others, label sets that overlap."""
    found: list[str] = []
    for labels in sorted({row.labels for row in rows}):
        own = [row for row in rows if row.labels == labels]
        scores = {f"`{row.technique.name}`": answers.of(row.way).mean(1) for row in own}
        scores["without pretraining"] = answers.of(own[0].without).mean(1)
        chosen = [data.labelled_indices(labels, seed) for seed in range(answers.seeds)]
        told = seed_warnings(scores, chosen, samples=int(answers.kept.sum()))
        with_labels = f"with {labels} label{'s' if labels > 1 else ''} a class"
        found += [f"{with_labels} {text[0].lower()}{text[1:]}" for text in told]
    return found


def _better(folder: Folder) -> Callable[[Cell, Cell], Cell]:
    return lambda first, second: second if validated(folder, second) > validated(folder, first) else first


def _curve(work: Work, run: Run, chosen: list[Chosen], seeds: int) -> list[tuple[int, Cell]]:
    """The best without pretraining at the plan's numbers of labels, and beyond them."""
    plan, folder = work.plan, work.folder
    more = [choose(plan, folder, run, labels, [])[0] for labels in plan.further]
    curve = sorted((choice.labels, choice.without) for choice in [*chosen, *more])
    _failed(plan, run([(seeded(cell, seed), "test") for _, cell in curve for seed in range(seeds)]))
    return curve
