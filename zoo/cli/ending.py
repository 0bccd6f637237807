"""What the command prints at a run's end: the answer first, then each number beside what it must be compared with."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text

from zoo.cli.clock import STARTED
from zoo.core.counts import caveat_of, noun_of, sample_counts
from zoo.core.findings import NO, NOT_SHOWN, YES, Answer, Finding, collect, write, write_interval, write_value

_COLOURS = {YES: "bold green", NO: "bold red", NOT_SHOWN: "bold yellow"}
_PER_GROUP = 2  # findings in the table; all are in the report


class Ending(NamedTuple):
    """What there is to say at a run's end."""

    title: str
    counts: Mapping[str, int]
    noun: str
    answer: Answer
    rows: Sequence[tuple[str, str]]  # "open", "next", "saved": label and text
    warning: str = ""


def ending_of(trainer: Any, module: Any, title: str, rows: Iterable[tuple[str, str]]) -> Ending:
    """Gather what a trainer, its callbacks, data and module have to say after a test.

    Args:
        trainer: Trainer that tested.
        module: Module that was tested.
        title: Title of the run.
        rows: Last lines: label and text.
    """
    data = getattr(trainer, "datamodule", None)
    noun = noun_of(data)
    warning = caveat_of(data)
    counts = {k: v for callback in trainer.callbacks for k, v in getattr(callback, "counts", {}).items()}
    return Ending(title, counts or sample_counts(trainer), noun, collect(trainer, module, noun), tuple(rows), warning)


def print_ending(ending: Ending) -> None:
    """Print a run's end to the terminal."""
    Console(soft_wrap=True, highlight=False).print(Text("\n").join(ending_lines(ending)))


def ending_lines(ending: Ending, seconds: float | None = None) -> list[Text]:
    """The lines of a run's end.

    Args:
        ending: What there is to say.
        seconds: Seconds that it took; by default since the start of the process.
    """
    seconds = time.perf_counter() - STARTED if seconds is None else seconds
    verdict = ending.answer.verdict
    first = Text(f"{ending.title}   {write_counts(ending.counts, ending.noun)}   {write_seconds(seconds)}")
    said = (f"{verdict.answer}: {verdict.reason}", _COLOURS.get(verdict.answer, "bold"))
    second = Text.assemble(f"{ending.answer.question}  ", said)
    advice = [Text(f"try next: {ending.answer.advice}")] if ending.answer.advice else []
    lines = [first, second, *advice, *([Text(ending.warning, "yellow")] if ending.warning else [])]
    groups: dict[str, list[Finding]] = {}
    for finding in ending.answer.findings:
        groups.setdefault(finding.group, []).append(finding)
    width = max([len(name) for name in [*groups, *(label for label, _ in ending.rows)]], default=0) + 2
    for name, findings in groups.items():
        shown = [finding for i, finding in enumerate(findings) if finding.text or i < _PER_GROUP]
        labels = [name] + [""] * len(shown)
        lines += [Text(f"  {label:<{width}}{write_finding(f)}") for label, f in zip(labels, shown, strict=False)]
    return lines + [Text(f"{label:<{width + 2}}{text}") for label, text in ending.rows]


def write_finding(finding: Finding) -> str:
    """A finding in a line, with its interval and what it is compared with."""
    interval = f" ({write_interval(finding)})" if finding.interval else ""
    beside = [f"{reference.title} {write_value(reference.value, finding.unit)}" for reference in finding.references]
    return "   ".join([f"{finding.title} {write(finding)}{interval}", *beside])


def write_counts(counts: Mapping[str, int], noun: str) -> str:
    """Numbers of samples: "1,295 training (100 labelled), 143 validation, 359 test images"."""
    parts = [f"{counts[part]:,} {part}" for part in ("training", "validation", "test") if part in counts]
    if parts and "labelled" in counts and counts["labelled"] < counts.get("training", 0):
        parts[0] += f" ({counts['labelled']:,} labelled)"
    return f"{', '.join(parts)} {noun}" if parts else ""


def write_seconds(seconds: float) -> str:
    """A duration: "51 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
