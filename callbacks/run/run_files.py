"""What a run's folder holds, as plain values: facts, answer, metrics, figures and options. No technique is imported."""

import csv
import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from callbacks.figures import FigureText
from zoo.core.findings import Answer, Finding, from_plain

Points = list[tuple[float, float]]  # (step, value)

HISTORY = "history.csv"  # in the place of metrics.csv, which only Lightning's CSVLogger writes
STAGES = ("test", "val", "train", "")  # of metrics' names, "test/mse", the most telling first; "" of "lr-AdamW"
RUNNING, FINISHED = "running", "finished"
_MOST_ALIASES = 20  # of a YAML file: a few hundred can make it grow beyond all memory
_TRACES = ("run.json", "metrics.csv", HISTORY, "config.yaml", "error.log")  # a folder with one of them is a run's


class Run(NamedTuple):
    """What a run's folder holds."""

    folder: Path
    facts: dict[str, Any]  # run.json
    answer: Answer | None  # None of a run that measured nothing, or of an older version
    curves: dict[str, Points]  # by metric, "train/loss"
    figures: dict[str, Path]  # by name
    options: dict[str, Any]  # all, "model.init_args.lr": 0.001
    changed: dict[str, Any]  # those that are not the default
    config: str  # config.yaml

    @property
    def name(self) -> str:
        """The last two parts of the run's path."""
        return "/".join(self.folder.resolve().parts[-2:])

    @property
    def status(self) -> str:
        """running, trained, finished, interrupted, "stopped: " and the reason, or "" where nobody noted it."""
        return str(self.facts.get("status", ""))

    @property
    def complete(self) -> bool:
        """Whether it came to its end, as far as is known."""
        return self.status in (FINISHED, "trained", "")

    @property
    def stage(self) -> str:
        """The most telling stage that the run has metrics of."""
        return next((stage for stage in STAGES if any(stage_of(name)[0] == stage for name in self.curves)), "")

    def metrics(self, stage: str) -> dict[str, float]:
        """The last values of a stage's metrics, without the stage in their names."""
        split = {name: stage_of(name) for name in sorted(self.curves)}
        return {split[name][1]: self.curves[name][-1][1] for name in split if split[name][0] == stage}

    def figure_text(self, name: str) -> FigureText:
        """What its callback said of a figure; of an unknown one the name."""
        said = self.facts.get("figures")
        try:
            title, look, rank = said[name]  # type: ignore[index]
            return FigureText(str(title), str(look), int(rank))
        except (KeyError, TypeError, ValueError):
            return FigureText(name.replace("_", " "), "", 1000)


def stage_of(metric: str) -> tuple[str, str]:
    """Part a metric's name: "test/mse" to ("test", "mse"); what begins with no stage, "lr-AdamW", to ("", itself)."""
    stage, _, name = metric.partition("/")
    return (stage, name) if name and stage in STAGES else ("", metric)


def read_run(folder: str | Path) -> Run:
    """Read what there is; a line that is not complete yet, or a cell that is no number, is passed over.

    Raises:
        FileNotFoundError: the folder is missing, or holds nothing that a run writes.
        ValueError: ``run.json`` is no JSON.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    if not any((folder / name).is_file() for name in _TRACES):
        raise FileNotFoundError(f"{folder} holds no run.json and no metrics.csv: is it a run's folder (runs/NAME/1)?")
    facts = _read_facts(folder)
    tables = [folder / name for name in ("metrics.csv", HISTORY) if (folder / name).is_file()]
    figures = {path.stem: path for path in sorted(folder.glob("*.png")) if not path.name.startswith(".")}
    changed, full = (_options(_text(folder / name)) for name in ("config.yaml", "config_full.yaml"))
    return Run(
        folder,
        facts,
        _read_answer(facts.get("answer")),
        read_curves(max(tables, key=lambda path: path.stat().st_mtime)) if tables else {},
        figures,
        full or changed,
        changed,
        _text(folder / "config.yaml"),
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    try:
        facts = dict(json.loads(_text(path))) if path.is_file() else {}
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, and the page is made without it") from error
    lines = _text(folder / "error.log").strip().splitlines()
    return {"status": f"stopped: {lines[-1][:300]}", **facts} if lines else facts


def _read_answer(plain: Any) -> Answer | None:
    """The answer, or None where there is none or another version wrote what is not understood."""
    try:
        answer = from_plain(plain)
        words = [answer.question, *answer.verdict]
        return answer if all(isinstance(w, str) for w in words) and all(map(_sound, answer.findings)) else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _sound(found: Finding) -> bool:
    """Whether a finding's parts, which may be anybody's, are of their types."""
    words = [found.group, found.title, found.meaning, found.unit, found.metric, found.note, found.text]
    words += [reference.title for reference in found.references]
    numbers: list[Any] = [found.value, found.samples, *(reference.value for reference in found.references)]
    numbers += [reference.chance for reference in found.references if reference.chance is not None]
    intervals = [part.interval for part in (found, *found.references) if part.interval]  # type: ignore[attr-defined]
    numbers += [end for interval in intervals for end in interval]
    return (
        all(isinstance(word, str) for word in words)
        and all(isinstance(number, int | float) for number in numbers)
        and all(len(interval) == 2 for interval in intervals)
    )


_LONGEST_LINE = 131_072  # the csv module's own limit of a cell, which anybody may raise


def read_curves(path: Path) -> dict[str, Points]:
    """Read Lightning's CSV as points by metric."""
    curves: dict[str, Points] = {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in _rows(line.replace("\0", "") for line in file):
            step = _number(row.get("step"))
            for name, cell in row.items():
                value = _number(cell)
                if step is not None and value is not None and name not in ("step", "epoch", None):
                    curves.setdefault(name, []).append((step, value))
    return curves


def _rows(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The table's rows, up to one that is no row."""
    with suppress(csv.Error):
        yield from csv.DictReader(takewhile(lambda line: len(line) < _LONGEST_LINE, lines))


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


@functools.lru_cache(maxsize=64)
def _options(text: str) -> dict[str, Any]:
    """A YAML text's options under dotted names; none where it cannot be read. Kept: a run's page is made often."""
    try:
        if "*" in text and sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)) > _MOST_ALIASES:
            return {}
        return flat(yaml.safe_load(text))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return {}


def flat(options: Any, begin: str = "") -> dict[str, Any]:
    """Nested mappings as one, under dotted names."""
    if not isinstance(options, Mapping) or (begin and not options):
        return {begin: options} if begin else {}
    nested = [flat(value, f"{begin}.{key}" if begin else str(key)) for key, value in options.items()]
    return {name: value for part in nested for name, value in part.items()}
