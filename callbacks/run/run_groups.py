"""Runs put together where only the seed differs, and named by the options in which they differ."""

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from callbacks.run.run_files import Run
from zoo.core.findings import PERCENT, Finding, Interval
from zoo.functional.intervals import mean_interval

_SEED = "seed_everything"
# Where a run's files are, and what is shown while it runs: none of it changes a result.
_NO_DIFFERENCE = (
    *("trainer.default_root_dir", "trainer.logger", "trainer.enable_", "trainer.profiler"),
    *("checkpoint.dirpath", "ckpt_path", "sample_grid.", "latent_map."),
)
NOTHING = "\N{EN DASH}"  # in a cell of a table
_IN_A_NAME = 3  # options at most
_SCRATCH = (None, "", "none", "untrained")
# Runs of before there were answers: the first of these metrics that they have, its unit, and whether more is better.
_OLDER = {
    "accuracy": (PERCENT, True),
    "probe": (PERCENT, True),
    "score": ("", True),
    "mse": ("", False),
    "loss": ("", False),
}


class Group(NamedTuple):
    """Runs of the same options."""

    label: str
    runs: tuple[Run, ...]
    options: dict[str, Any]  # those in which the groups differ
    baseline: bool

    @property
    def whole(self) -> list[Run]:
        """Runs that came to their end."""
        return [run for run in self.runs if run.complete]

    def by_seed(self, metric: str) -> dict[str, float]:
        """The metric's values; of several runs with one seed their mean."""
        found: dict[str, list[float]] = {}
        for number, run in enumerate(self.whole):
            value = value_of(run, metric)
            if value is not None and math.isfinite(value):
                found.setdefault(seed_of(run) or f"run {number}", []).append(value)
        return {seed: math.fsum(values) / len(values) for seed, values in found.items()}

    def mean(self, metric: str) -> float | None:
        """The mean over the seeds, None where no run has the metric."""
        values = list(self.by_seed(metric).values())
        return math.fsum(values) / len(values) if values else None

    def interval(self, metric: str) -> Interval | None:
        """Of several seeds Student's, of one what its run said."""
        values = list(self.by_seed(metric).values())
        if len(values) > 1:
            return mean_interval(values)
        found = [finding.interval for run in self.whole if (finding := finding_of(run, metric))]
        return found[0] if found else None


def seed_of(run: Run) -> str:
    """The run's seed, "" where it is not known."""
    seed = str(run.options.get(_SEED, run.facts.get("seed", "-")))
    return "" if seed in ("-", "None", "False") else seed


def finding_of(run: Run, metric: str) -> Finding | None:
    """A run's finding by its metric's name."""
    return next((f for f in (run.answer.findings if run.answer else ()) if f.metric == metric), None)


def value_of(run: Run, metric: str) -> float | None:
    """A run's value: as it was found, or as it was logged last."""
    finding = finding_of(run, metric)
    return finding.value if finding else run.metrics(run.stage).get(metric)


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Put runs together in the order in which they came; the baseline is what had no pretraining, or no adaptation."""
    differing = _differing(runs)
    groups: dict[str, list[Run]] = {}
    for run in runs:
        own = [str(run.folder)] if not run.options else []  # of unknown options: by itself
        key = [own, *(run.options.get(name) for name in differing)]
        groups.setdefault(json.dumps(key, sort_keys=True, default=str), []).append(run)
    told = [({name: same[0].options.get(name) for name in differing}, same) for same in groups.values()]
    baseline = [_without_pretraining(options) for options, _ in told]
    known = any(baseline) and not all(baseline)
    labels = _unique([_label(options, same) for options, same in told], [same for _, same in told])
    return [
        Group(label, tuple(same), options, known and plain)
        for label, plain, (options, same) in zip(labels, baseline, told, strict=True)
    ]


def _differing(runs: Sequence[Run]) -> list[str]:
    """Options in which runs differ: of all runs, or changed by the user in one of them."""
    names = dict.fromkeys(name for run in runs for name in run.options)
    told = [run.options for run in runs if run.options]
    changed = {name for run in runs for name in run.changed}
    found = []
    for name in names:
        shared = all(name in options for options in told) or name in changed
        values = {json.dumps(options.get(name), sort_keys=True, default=str) for options in told}
        if shared and len(values) > 1 and name != _SEED and not name.startswith(_NO_DIFFERENCE):
            found.append(name)
    return found


def _without_pretraining(options: dict[str, Any]) -> bool:
    """Whether an option says so: no backbone, or the method "none"."""
    told = {name.rpartition(".")[2]: value for name, value in options.items()}
    return ("backbone" in told and told["backbone"] in _SCRATCH) or told.get("method") == "none"


def short(name: str) -> str:
    """An option's last part; of a class its owner."""
    parts = name.split(".")
    return parts[-2] if parts[-1] == "class_path" and len(parts) > 1 else parts[-1]


def value_text(name: str, value: Any) -> str:
    """An option's value: of a run's folder the last parts, of a class its name."""
    text = NOTHING if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    if name.endswith("class_path"):
        return text.rpartition(".")[2].removesuffix("Module")
    if name.endswith("backbone") and value in _SCRATCH:
        return "none"
    parts = [part for part in text.split("/") if part]
    if len(parts) > 2:
        parts = parts[:-2] if parts[-2] == "checkpoints" else parts
        return "/".join(parts[-2:])
    return text if len(text) <= 60 else text[:57] + "..."


def _label(options: dict[str, Any], runs: Sequence[Run]) -> str:
    """What parts the group from the others, in words."""
    options = dict(sorted(options.items(), key=lambda option: not option[0].endswith("class_path")))  # techniques first
    words = {"backbone none": "from scratch"}
    told = [f"{short(name)} {value_text(name, value)}" for name, value in options.items()]
    told = [words.get(text, text.replace("backbone ", "from ", 1)) for text in told if not text.endswith(NOTHING)]
    return ", ".join(told[:_IN_A_NAME]) or runs[0].name


def _unique(labels: Sequence[str], runs: Sequence[Sequence[Run]]) -> list[str]:
    """Labels that are not enough to tell groups apart have the run's name with them."""
    return [
        f"{label} ({same[0].name})" if labels.count(label) > 1 else label
        for label, same in zip(labels, runs, strict=True)
    ]


def leading(groups: Sequence[Group]) -> Finding | None:
    """What the runs are compared by: the most important finding of those that most groups have."""
    whole = [run for group in groups for run in group.whole]
    candidates = {f.metric: f for run in whole if run.answer for f in run.answer.findings if f.metric}
    for name, (unit, higher) in _OLDER.items():
        if not candidates and any(name in run.metrics(run.stage) for run in whole):
            found = Finding("", name.replace("_", " "), 0.0, "", unit or "number", metric=name, higher_is_better=higher)
            candidates[name] = found
    counts = {name: sum(group.mean(name) is not None for group in groups) for name in candidates}
    best = max(counts.values(), default=0)
    return next((candidates[name] for name, count in counts.items() if count == best), None) if best else None
