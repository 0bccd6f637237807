"""Several runs on one page that answers: which is better, by how much, and is that more than chance?"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from callbacks.run import charts
from callbacks.run.embedded import embedded
from callbacks.run.report_page import (
    MOST_ROWS,
    SIZE,
    box,
    capitalised,
    curves,
    number,
    page,
    render,
    seconds_of,
    unbroken,
    verdict_kind,
    write_page,
)
from callbacks.run.run_files import RUNNING, Run, read_run
from callbacks.run.run_groups import NOTHING, Group, finding_of, grouped, leading, seed_of, short, value_text
from zoo.core.findings import NO, NOT_SHOWN, PERCENT, UNKNOWN, YES, Finding, Verdict, write_value
from zoo.functional.intervals import independent_difference, mean_difference_interval, mean_interval

_QUESTION = "Do the runs differ?"
_MORE_SEEDS = "Run more seeds: --seed_everything 1, 2, ... with the same options, and compare all of them."


def report(folders: Sequence[str], out: str | None = None) -> str:
    """Write the page of a run, or of several beside each other, and say what it answers.

    Args:
        folders: Folders of the runs.
        out: Path of the page; by default ``report.html``, in the folder of the one run, or here for several.

    Returns:
        The answer in a sentence, if there is one, and a line with the page's path.

    Raises:
        FileNotFoundError: a folder is not that of a run.
        ValueError: a run's file is damaged, or ``out`` is a folder.
    """
    runs = [read_run(folder) for folder in dict.fromkeys(folders)]
    path = Path(out) if out else (runs[0].folder if len(runs) == 1 else Path()) / "report.html"
    if len(runs) == 1:
        text, said = page(runs[0]), _said(runs[0])
    else:
        text, said = comparison(runs)
    write_page(text, path)
    return "\n".join(filter(None, (said, f"open in a browser: {path}")))


def _said(run: Run) -> str:
    if run.answer is None:
        return ""
    return " ".join(filter(None, (run.answer.question, _sentence(run.answer.verdict))))


def _sentence(verdict: Verdict) -> str:
    """The answer and its reason as the terminal shows them."""
    return f"{verdict.answer}. {capitalised(verdict.reason)}".replace("\N{NO-BREAK SPACE}", " ")


class Judged(NamedTuple):
    """The answer to a comparison."""

    question: str
    verdict: Verdict
    notes: tuple[str, ...]
    band: tuple[float, float] | None  # values that differ from the baseline's by chance


def judge(groups: Sequence[Group], lead: Finding | None) -> Judged:
    """Compare the best group with the baseline, or with the next best where none is known to be the baseline.

    Args:
        groups: Groups of runs.
        lead: Finding by which they are compared.
    """
    able = [group for group in groups if lead and group.mean(lead.metric) is not None]
    if lead is None or len(able) < 2:
        only = f"only {able[0].label} has a result to compare" if able else "no run has a result to compare"
        return Judged(_QUESTION, Verdict(UNKNOWN, only), (), None)
    ordered = sorted(able, key=lambda group: group.mean(lead.metric) or 0.0, reverse=lead.higher_is_better)
    baselines = [group for group in ordered if group.baseline]
    base = baselines[0] if baselines else ordered[1]
    best = next(group for group in ordered if not group.baseline) if baselines else ordered[0]
    gain, chance, basis = _difference(best, base, lead)
    answer = NOT_SHOWN if chance is None or abs(gain) <= chance + 1e-9 else YES if gain > 0 else NO
    question = _question(best) if baselines else _QUESTION
    reason = ", ".join(f"{group.label} {_written(group, lead)}" for group in (base, best)) + f" ({basis})"
    band = _band(base, chance, lead)
    others = len(able) - len(baselines) if baselines else len(able)
    return Judged(question, Verdict(answer, reason), tuple(_notes(best, base, lead, others)), band)


def _question(group: Group) -> str:
    told = next((run.answer.question for run in group.whole if run.answer), "")
    return told or "Did pretraining pay?"


def _written(group: Group, lead: Finding) -> str:
    return write_value(group.mean(lead.metric) or 0.0, lead.unit)


def _difference(best: Group, base: Group, lead: Finding) -> tuple[float, float | None, str]:
    """How much better ``best`` is, the largest difference that is chance (None: not known), and what that rests on."""
    sign = 1.0 if lead.higher_is_better else -1.0
    mine, other = best.by_seed(lead.metric), base.by_seed(lead.metric)
    gain = sign * ((best.mean(lead.metric) or 0.0) - (base.mean(lead.metric) or 0.0))
    common = [seed for seed in mine if seed in other and not seed.startswith("run ")]
    if len(common) > 1:
        gains = [sign * (mine[seed] - other[seed]) for seed in common]
        gain = math.fsum(gains) / len(gains)
        low, high = mean_interval(gains)
        return gain, (high - low) / 2, f"{len(common)} seeds, paired: {_chance_text((high - low) / 2, lead)}"
    if min(len(mine), len(other)) > 1:
        low, high = mean_difference_interval(list(mine.values()), list(other.values()))
        return gain, (high - low) / 2, f"{len(mine)} and {len(other)} seeds: {_chance_text((high - low) / 2, lead)}"
    return (gain, *_of_one_seed(best, base, lead))


def _of_one_seed(best: Group, base: Group, lead: Finding) -> tuple[float | None, str]:
    """Of shares what chance of the test samples alone is; of other numbers nothing is known."""
    samples = [
        next((f.samples for run in group.whole if (f := finding_of(run, lead.metric))), 0) for group in (best, base)
    ]
    if lead.unit != PERCENT or not all(samples):
        return None, "one seed: which difference is chance is not known"
    shares = [group.mean(lead.metric) or 0.0 for group in (best, base)]
    chance = independent_difference(shares[0], samples[0], shares[1], samples[1])
    noun = next((str(run.facts["noun"]) for run in best.whole if "noun" in run.facts), "samples")
    count = f"{samples[0]:,}" if samples[0] == samples[1] else f"{samples[0]:,} and {samples[1]:,}"
    return chance, f"{count} {noun}, one seed: {_chance_text(chance, lead, samples[0])}"


def _chance_text(chance: float, lead: Finding, samples: int = 0) -> str:
    size = f"{round(chance * samples):,}" if samples else write_value(chance, lead.unit)
    return f"a difference of {size} is chance"


def _band(base: Group, chance: float | None, lead: Finding) -> tuple[float, float] | None:
    mean = base.mean(lead.metric)
    return None if chance is None or mean is None else (mean - chance, mean + chance)


def _notes(best: Group, base: Group, lead: Finding, candidates: int) -> list[str]:
    notes = []
    if candidates > 1:
        notes.append(f"The best of {candidates} was taken, which looks a little better than it is.")
    if min(len(group.by_seed(lead.metric)) for group in (best, base)) < 2:
        notes.append(f"One seed says little of others. {_MORE_SEEDS}")
    runs = [*best.whole, *base.whole]
    for fact, words in (("data_fingerprint", "data or labels"), ("versions", "versions of the libraries")):
        if len({str(run.facts[fact]) for run in runs if fact in run.facts}) > 1:
            notes.append(f"The runs do not have the same {words}.")
    if any(run.stage != "test" for run in runs):
        notes.append("Not all of these runs were tested: their numbers are of validation.")
    return notes


def comparison(runs: Sequence[Run]) -> tuple[str, str]:
    """The page of several runs, and what it answers in a sentence."""
    groups = grouped(runs)
    lead = leading(groups)
    judged = judge(groups, lead)
    verdict = box(verdict_kind(judged.verdict), judged.verdict.answer, judged.verdict.reason, judged.notes)
    failed = [run for run in runs if not run.complete and run.status != RUNNING]
    drawn = curves(runs, [lead.metric] if lead else [])
    text = render(
        "comparison.html.jinja",
        running=any(run.status == RUNNING for run in runs),
        page_title=f"{len(runs)} runs",
        eyebrow=_eyebrow(runs, len(groups)),
        heading=judged.question,
        boxes=[verdict, *(box("failed", run.name, run.status) for run in failed)],
        plot=_plot(groups, lead, judged.band),
        heads=[_head(group) for group in groups],
        rows=_rows(groups),
        rest=_rest(groups),
        figures=_figures(runs),
        curves=drawn,
        commands=[(run.name, str(run.facts.get("command", "-"))) for run in runs],
        size=SIZE,
    )
    return text, f"{judged.question} {_sentence(judged.verdict)}"


def _eyebrow(runs: Sequence[Run], groups: int) -> list[str]:
    titles = {str(run.facts.get("title") or "") for run in runs}
    seeds = {seed_of(run) for run in runs}
    parts = ["pretraining-zoo", f"{len(runs)} runs" + (f" in {groups} groups" if groups < len(runs) else "")]
    parts += [title for title in titles if len(titles) == 1 and title]
    return parts + ([f"seed {seed}" for seed in seeds if seed] if len(seeds) == 1 else [f"{len(seeds)} seeds"])


def _plot(groups: Sequence[Group], lead: Finding | None, band: tuple[float, float] | None) -> dict[str, Any] | None:
    if lead is None:
        return None
    means = [(group, group.mean(lead.metric)) for group in groups]
    rows = [charts.Row(g.label, mean, g.interval(lead.metric), not g.baseline) for g, mean in means if mean is not None]
    dots = charts.dot_plot(rows, lead.unit, band)
    caption = [capitalised(lead.meaning)]
    if any(row.interval for row in rows):
        several = any(len(group.by_seed(lead.metric)) > 1 for group in groups)
        caption.append(f"Bars are 95 % intervals{' of the mean over seeds' if several else ' of the test samples'}.")
    if band:
        caption.append("Shaded: what differs by chance from the value that the best was compared with.")
    return (
        {"title": capitalised(lead.title).rstrip("."), "dots": dots, "caption": unbroken(" ".join(caption))}
        if dots
        else None
    )


def _head(group: Group) -> str:
    return group.runs[0].name if len(group.runs) == 1 else f"{len(group.runs)} runs: {group.label}"


def _rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Where the groups differ: options, then findings with the best in bold, seeds, times and what went wrong."""
    names = list(dict.fromkeys(name for group in groups for name in group.options))
    rows = [_plain(short(name), [value_text(name, group.options.get(name)) for group in groups]) for name in names]
    findings = {f.metric: f for g in groups for run in g.whole if run.answer for f in run.answer.findings if f.metric}
    rows += [_metric_row(groups, finding) for finding in findings.values()]
    if any(len(group.runs) > 1 for group in groups):
        rows.append(_plain("runs", [_names(group.runs) for group in groups]))
    rows.append(_plain("seed", [", ".join(seed_of(run) or "?" for run in group.runs) for group in groups]))
    rows.append(
        _plain("time", [", ".join(dict.fromkeys(seconds_of(run) or NOTHING for run in group.runs)) for group in groups])
    )
    if not all(run.complete for group in groups for run in group.runs):
        states = [", ".join(run.status or "finished" for run in group.runs) for group in groups]
        failed = [not all(run.complete for run in group.runs) for group in groups]
        rows.append({**_plain("state", states), "failed": failed})
    return rows


def _names(runs: Sequence[Run]) -> str:
    """finetune-digits/1, 2, 3."""
    begins = [run.name.rpartition("/")[0] for run in runs]
    same = len(set(begins)) == 1
    return ", ".join(run.name.rpartition("/")[2] if same and i else run.name for i, run in enumerate(runs))


def _plain(title: str, cells: Sequence[str]) -> dict[str, Any]:
    return {"title": title, "cells": list(cells), "best": [False] * len(cells), "failed": [False] * len(cells)}


def _metric_row(groups: Sequence[Group], finding: Finding) -> dict[str, Any]:
    means = [group.mean(finding.metric) for group in groups]
    known = [mean for mean in means if mean is not None]
    best = (max if finding.higher_is_better else min)(known, default=None)
    cells = []
    for group, mean in zip(groups, means, strict=True):
        text = NOTHING if mean is None else write_value(mean, finding.unit)
        interval = group.interval(finding.metric) if len(group.by_seed(finding.metric)) > 1 else None
        if interval:
            text += f" ({write_value(interval[0], finding.unit)} to {write_value(interval[1], finding.unit)})"
        cells.append(unbroken(text))
    marked = [mean is not None and mean == best and len(known) > 1 for mean in means]
    return {**_plain(finding.title, cells), "best": marked}


def _rest(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Logged numbers that are no findings, the mean of each group."""
    runs = [run for group in groups for run in group.whole]
    names = sorted({name for run in runs for name in run.metrics(run.stage)} - {
        finding.metric for run in runs if run.answer for finding in run.answer.findings})  # fmt: skip
    means = [(name, [group.mean(name) for group in groups]) for name in names]
    return [_plain(name, [NOTHING if mean is None else number(mean) for mean in found]) for name, found in means][
        :MOST_ROWS
    ]


def _figures(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The same figure of all runs beside each other, in the order of importance."""
    ranks = {name: run.figure_text(name).rank for run in runs for name in run.figures}
    names = sorted(ranks, key=lambda name: (ranks[name], name))
    pairs = [(name, run) for name in names for run in runs if name in run.figures]
    images = embedded([run.figures[name] for name, run in pairs])
    return [
        {
            "title": f"{run.figure_text(name).title}, {run.name}",
            "look": "",
            "alt": f"Figure {name} of {run.name}",
            "image": image,
        }
        for (name, run), image in zip(pairs, images, strict=True)
        if image
    ]
