"""The plan of a comparison: every training with its steps, as plain values in ``plan.json``."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from zoo.compare.cells import PCA, PIXELS, UNTRAINED, Cell, Folder
from zoo.core.atomic import atomic_write
from zoo.functional.verdict import looks

FORMAT = 1
RATES = (3e-4, 1e-3, 3e-3)
CHOOSING_SEEDS = (1000, 1001)  # by whose validation labels rates and ways are chosen; they are not reported
_TUNED = ("full", "lp_ft")
# Of a comparison that exists, what cannot be changed without making its trainings untrue.
_HELD = {
    "data": "data",
    "data_options": "data options",
    "fingerprint": "data of fingerprint",
    "length": "pretrainings of",
    "tuning": "fine-tuning",
    "network": "network",
    "precision": "precision",
    "threads": "threads",
    "pretrainings": "pretrainings",
}


class Entry(NamedTuple):
    """A technique in the plan.

    Args:
        name: Name as it was typed, ``contrastive:method=byol``.
        path: Import path of the module; "" of weights that exist already.
        options: Options of the module.
        weights: Folder of an exported encoder, a checkpoint, or a library's network; "" of a module.
        steps: Optimiser steps of a pretraining; 0 where the technique's own length counts, or nothing is trained.
        epochs: Epochs of techniques that have a length of their own, such as one pass; otherwise 0.
        network: JSON of the spec of its encoder's network.
        own_network: Whether it is another than the common one, and learns by gradients.
        digest: Digest of weights; "" of a module.
        seconds: Expected seconds of one pretraining; 0 where nothing was measured.
    """

    name: str
    path: str = ""
    options: dict[str, Any] = {}  # noqa: RUF012
    weights: str = ""
    steps: int = 0
    epochs: int = 0
    network: str = ""
    own_network: bool = False
    digest: str = ""
    seconds: float = 0.0


class Plan(NamedTuple):
    """Everything that a comparison's numbers are a function of.

    Args:
        data: Import path of the datamodule.
        data_options: Its options.
        fingerprint: Digest of its samples and labels.
        techniques: What is compared.
        labels: Labels a class, ascending.
        further: Larger numbers, at which only what needs no pretraining is measured.
        seeds: Number of reported seeds, 0 to seeds - 1, at most.
        first_seeds: Number of them after which a first look may end it; as many as ``seeds`` where there is one look.
        pretrainings: Number of pretrainings of each technique, of which seed s uses number s modulo that; 0 is one for
            each seed.
        network: JSON of the common network's spec.
        tuning: Steps and batch size of every fine-tuning, augmentation and penalty of probes.
        length: How long a pretraining is, as it was asked for: "5 steps", or "180 s".
        longer: Steps that the network from scratch may train longer, for as long as a pretraining.
        worth: Smallest gain worth having, in points of percent.
        precision: Precision of all trainings.
        threads: Threads of each process.
        seconds_per_step: Expected seconds of a step of fine-tuning, by network; {} where nothing was measured.
    """

    data: str
    data_options: dict[str, Any]
    fingerprint: str
    techniques: tuple[Entry, ...]
    labels: tuple[int, ...]
    further: tuple[int, ...]
    seeds: int
    first_seeds: int
    pretrainings: int
    network: str
    tuning: dict[str, Any]
    length: str
    longer: int
    worth: float
    precision: str
    threads: int
    seconds_per_step: dict[str, float] = {}  # noqa: RUF012

    def pretraining(self, technique: Entry, seed: int) -> Cell:
        """The pretraining that a seed uses; those by which is chosen use the first ones."""
        number = CHOOSING_SEEDS.index(seed) if seed in CHOOSING_SEEDS else seed
        return Cell(technique.name, "pretrain", seed=number % self.pretrainings if self.pretrainings else number)

    def shared(self, technique: Entry, seeds: int) -> int:
        """Number of a technique's encoders that so many seeds share; 0 where each has its own."""
        count = self.pretrainings if technique.path else 1
        return count if count < seeds else 0

    @property
    def looks(self) -> list[tuple[int, float]]:
        """Numbers of seeds after which the verdicts are looked at, each with the error that it may have."""
        return looks(self.first_seeds, self.seeds) if self.first_seeds < self.seeds else [(self.seeds, 0.05)]

    def pretrainings_of(self, seeds: int) -> list[Cell]:
        """All pretrainings of the first seeds, each technique's first one first."""
        count = self.pretrainings or max(seeds, len(CHOOSING_SEEDS))
        return [self.pretraining(t, i) for i in range(count) for t in self.techniques if t.path]

    def with_pretraining(self, technique: Entry, labels: int) -> list[Cell]:
        """Seven ways to use a technique's encoder, of which one is chosen."""
        tuned = [Cell(technique.name, mode, rate, labels) for mode in _TUNED for rate in RATES]
        return [Cell(technique.name, "probe", 0.0, labels), *tuned]

    def without(self, labels: int) -> list[Cell]:
        """Six of the seven ways that need no pretraining, of which one is chosen.

        The seventh is the network from scratch, trained longer, at the rate that is the best of these.
        """
        sources = ((PIXELS, ""), (PCA, ""), (UNTRAINED, self.network))
        linear = [Cell(source, "probe", 0.0, labels, network=network) for source, network in sources]
        return linear + [Cell(UNTRAINED, "full", rate, labels, network=self.network) for rate in RATES]

    def own_from_scratch(self, technique: Entry, labels: int) -> list[Cell]:
        """A technique's own network from scratch, where it is another than the common one; three rates."""
        network = technique.network if technique.own_network else ""
        return [Cell(UNTRAINED, "full", rate, labels, network=network) for rate in RATES if network]

    def expected_seconds(self, cell: Cell) -> float:
        """Seconds that a cell is expected to take; 0 where nothing was measured."""
        if cell.mode == "pretrain":
            return self.technique(cell.source).seconds
        network = cell.network or next((t.network for t in self.techniques if t.name == cell.source), self.network)
        steps = {"full": self.tuning["steps"], "lp_ft": self.tuning["steps"]}
        steps["longer"] = self.tuning["steps"] + self.longer
        return steps.get(cell.mode, 0) * self.seconds_per_step.get(network, 0.0)

    @property
    def expected_cells(self) -> list[Cell]:
        """About all cells: which way is chosen is not known before, and is taken to be a fine-tuning."""
        cells = self.pretrainings_of(self.seeds)
        for labels in (*self.labels, *self.further):
            tried = self.without(labels)
            told = [tried[-1]]
            tried.append(told[0]._replace(mode="longer"))
            for entry in self.techniques if labels in self.labels else ():
                ways = self.with_pretraining(entry, labels)
                tried += [*ways, *self.own_from_scratch(entry, labels)]
                same = ways[-1]._replace(source=UNTRAINED, network=entry.network)
                told += [ways[-1], same, Cell(entry.name, "knn", 0.0, labels)]
            cells += [cell._replace(seed=seed) for cell in tried for seed in CHOOSING_SEEDS]
            cells += [cell._replace(seed=seed) for cell in told for seed in range(self.seeds)]
        return cells

    def technique(self, name: str) -> Entry:
        """A technique by its name.

        Raises:
            KeyError: there is none of this name.
        """
        return next(t for t in self.techniques if t.name == name)


def write_plan(plan: Plan, folder: Folder) -> None:
    """Write ``plan.json``."""
    values = {"format": FORMAT, **plan._asdict(), "techniques": [t._asdict() for t in plan.techniques]}
    values["expected"] = {cell.name: round(plan.expected_seconds(cell), 1) for cell in plan.expected_cells}
    text = json.dumps(values, indent=2) + "\n"
    atomic_write(folder.plan, lambda path: Path(path).write_text(text, encoding="utf-8"))


def read_plan(folder: Folder) -> Plan | None:
    """The plan of a folder; None where there is none.

    Raises:
        ValueError: it is damaged, or of a later version.
    """
    if not folder.plan.exists():
        return None
    try:
        values = json.loads(folder.plan.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise ValueError("of another version")
        values = {name: values[name] for name in Plan._fields}
        values["techniques"] = tuple(Entry(**entry) for entry in values["techniques"])
        return Plan(**{**values, **{name: tuple(values[name]) for name in ("labels", "further")}})
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{folder.plan} cannot be read ({error}): take another --out") from error


def extended(old: Plan, new: Plan) -> Plan:
    """An existing plan with what a new one, which has its labels, too, adds; what is there keeps its steps.

    Raises:
        ValueError: a change that would make trainings untrue that exist.
    """
    for name, what in _HELD.items():
        theirs, ours = getattr(old, name), getattr(new, name)
        if theirs != ours:
            raise ValueError(f"the comparison that is there has {what} {theirs}, now {ours}: take another --out")
    known = {entry.name: entry for entry in old.techniques}
    for entry in new.techniques:
        there = known.get(entry.name, entry)
        if (entry.options, entry.digest) != (there.options, there.digest):
            what = "weights" if entry.digest else "options"
            raise ValueError(f"{entry.name} has other {what} in the comparison that is there: take another --out")
    techniques = [*old.techniques, *(entry for entry in new.techniques if entry.name not in known)]
    fixed, most = all(plan.first_seeds == plan.seeds for plan in (old, new)), max(old.seeds, new.seeds)
    return old._replace(
        techniques=tuple(techniques),
        labels=new.labels,
        further=new.further,
        seeds=most if fixed else new.seeds,
        first_seeds=most if fixed else new.first_seeds,
        worth=new.worth,
        seconds_per_step={**new.seconds_per_step, **old.seconds_per_step},
    )
