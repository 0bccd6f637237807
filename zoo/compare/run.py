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


class Outcome(NamedTuple):
    """What a comparison found.

    Args:
        rows: Rows of the table, as ``zoo.compare.outcome.table`` gives them.
        features: For each technique measures of its features that need no labels, the mean of its pretrainings.
        curve: Accuracies without pretraining by number of labels.
        failures: Messages of the techniques that failed, by name.
        warnings: What makes the numbers less than they seem.
        seeds: Number of seeds that were needed.
        copies: Test samples that occur among the training samples, and were left out.
        tested: Test samples that were not.
    """

    rows: list[dict[str, Any]]
    features: list[dict[str, Any]]
    curve: list[dict[str, float]]
    failures: dict[str, str]
    warnings: list[str]
    seeds: int
    copies: int
    tested: int


class Progress:
    """Lines that say how far the comparison is."""

    def __init__(self, plan: Plan, say: Say) -> None:
        self.say, self.total = say, len(plan.expected_cells)
        self.done, self.began, self.last = 0, time.monotonic(), 0.0

    def __call__(self, cell: Cell) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.last < _INTERVAL:
            return
        self.last, gone = now, now - self.began
        left = gone / self.done * max(0, self.total - self.done)
        times = f"{duration(gone)} gone, about {duration(left)} left"
        self.say(f"{self.done} of about {self.total} trainings, {times}: {cell.name}")


def compare(work: Work, pool: Executor | None, say: Say) -> Outcome:
    """Make all that is missing of a comparison, and its table; look after look, until every verdict is there.

    Raises:
        ValueError: nothing can be compared.
    """
    run = runner(work, pool, Progress(work.plan, say))
    if not work.plan.labels:
        failures = _failed(run([(cell, "val") for cell in work.plan.pretrainings_of(work.plan.seeds)]))
        return Outcome([], features(work.plan, work.folder, failures), [], failures, [], work.plan.seeds, 0, 0)
    kept = ~copied(work.data)
    for seeds, alpha in work.plan.looks:
        outcome = _look(work, run, Answers(work.folder, seeds, kept), alpha)
        if all(row["verdict"] != WORDS[CANNOT_TELL] for row in outcome.rows):
            break
    return outcome


def _look(work: Work, run: Run, answers: Answers, alpha: float) -> Outcome:
    """All cells of the first seeds, and what they say."""
    plan, folder, seeds = work.plan, work.folder, answers.seeds
    failures = _failed(run([(cell, "val") for cell in plan.pretrainings_of(seeds)]))
    able, chosen = [t for t in plan.techniques if t.name not in failures], []
    for labels in plan.labels:
        choice, failed = choose(plan, folder, run, labels, able)
        failures = {**_failed(failed), **failures}
        chosen.append(choice)
    rows = [row for choice in chosen for row in reported(plan, folder, choice, _better(folder))]
    cells = [cell for row in rows for cell in (row.way, row.without, row.scratch, row.same, row.knn)]
    failures = {**_failed(run([(seeded(cell, seed), "test") for cell in cells for seed in range(seeds)])), **failures}
    curve = _curve(work, run, chosen, seeds)
    rows = [row for row in rows if row.technique.name not in failures]
    found = table(plan, answers, rows, curve, alpha)
    accuracies = [{"labels": labels, "accuracy": 100 * answers.of(cell).mean().item()} for labels, cell in curve]
    told = warnings(work.data, answers, rows)
    copies, tested = int((~answers.kept).sum()), int(answers.kept.sum())
    return Outcome(found, features(plan, folder, failures), accuracies, failures, told, seeds, copies, tested)


def _failed(failures: dict[Cell, str]) -> dict[str, str]:
    """Messages of techniques that failed, by name.

    Raises:
        ValueError: what needs no pretraining failed, so that there is nothing to compare with.
    """
    if lost := [message for cell, message in failures.items() if cell.source in (UNTRAINED, PIXELS, PCA)]:
        raise ValueError(f"what needs no pretraining failed: {lost[0]}")
    return {cell.source: message for cell, message in reversed(failures.items())}  # the first of each


def warnings(data: Any, answers: Answers, rows: Sequence[Reported]) -> list[str]:
    """What makes the numbers less than they seem: seeds far from the others, label sets that overlap."""
    found: list[str] = []
    for labels in sorted({row.labels for row in rows}):
        own = [row for row in rows if row.labels == labels]
        scores = {f"`{row.technique.name}`": answers.of(row.way).mean(1) for row in own}
        scores["without pretraining"] = answers.of(own[0].without).mean(1)
        chosen = [data.labelled_indices(labels, seed) for seed in range(answers.seeds)]
        told = seed_warnings(scores, chosen, samples=int(answers.kept.sum()))
        found += [f"with {labels} labels a class {text[0].lower()}{text[1:]}" for text in told]
    return found


def _better(folder: Folder) -> Callable[[Cell, Cell], Cell]:
    return lambda first, second: second if validated(folder, second) > validated(folder, first) else first


def _curve(work: Work, run: Run, chosen: list[Chosen], seeds: int) -> list[tuple[int, Cell]]:
    """The best without pretraining at the plan's numbers of labels, and beyond them."""
    plan, folder = work.plan, work.folder
    more = [choose(plan, folder, run, labels, [])[0] for labels in plan.further]
    curve = sorted((choice.labels, choice.without) for choice in [*chosen, *more])
    _failed(run([(seeded(cell, seed), "test") for _, cell in curve for seed in range(seeds)]))
    return curve
