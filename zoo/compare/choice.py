"""Which way and rate each side is reported with: the best by validation labels, on seeds that are not reported."""

from typing import NamedTuple

from zoo.compare.cells import Cell, Folder, unpack_bits
from zoo.compare.plan import CHOOSING_SEEDS, Entry, Plan
from zoo.compare.pool import Run, Task


class Chosen(NamedTuple):
    """What is reported at one number of labels; cells without a seed.

    Args:
        labels: Labels a class.
        without: The best that needs no pretraining, of the common network, its pixels and principal components.
        scratch: The common network from scratch, at its best rate.
        own: For each technique the best of its own network from scratch, if it has one.
        ways: For each technique the best way to use its encoder.
    """

    labels: int
    without: Cell
    scratch: Cell
    own: dict[str, Cell]
    ways: dict[str, Cell]


def seeded(cell: Cell, seed: int) -> Cell:
    """The cell of a seed."""
    return cell._replace(seed=seed)


def choose(
    plan: Plan, folder: Folder, run: Run, labels: int, techniques: list[Entry]
) -> tuple[Chosen, dict[Cell, str]]:
    """Train all ways on the choosing seeds, and take the best of each side.

    Args:
        plan: Plan.
        folder: Where results are.
        run: Makes cells.
        labels: Labels a class.
        techniques: Techniques that are pretrained.

    Returns:
        What was chosen, of techniques none of whose cells failed; and the failures' messages.
    """
    tried = {technique.name: plan.with_pretraining(technique, labels) for technique in techniques}
    alone = {technique.name: plan.own_from_scratch(technique, labels) for technique in techniques}
    common = plan.without(labels)
    cells = [*common, *(c for group in (*alone.values(), *tried.values()) for c in group)]
    failed = run([task for cell in cells for task in _tasks(cell)])
    scratch = _best(folder, [cell for cell in common if cell.mode == "full"])
    longer = scratch._replace(mode="longer")
    failed |= run(_tasks(longer))
    broken = {cell.source for cell in failed}
    without = _best(folder, [*common, longer])
    own = {name: _best(folder, group) for name, group in alone.items() if group}
    ways = {name: _best(folder, group) for name, group in tried.items() if name not in broken}
    return Chosen(labels, without, scratch, own, ways), failed


def _tasks(cell: Cell) -> list[Task]:
    return [(seeded(cell, seed), "val") for seed in CHOOSING_SEEDS]


def _best(folder: Folder, cells: list[Cell]) -> Cell:
    """The first of those with most right validation samples; those that failed have none."""
    return max(cells, key=lambda cell: validated(folder, cell))


def validated(folder: Folder, cell: Cell) -> float:
    """Accuracy on validation samples, the mean of the choosing seeds."""
    results = [folder.read(seeded(cell, seed)) for seed in CHOOSING_SEEDS]
    shares = [unpack_bits(r["right"], r["samples"]).double().mean().item() for r in results if r]
    return sum(shares) / len(CHOOSING_SEEDS)
