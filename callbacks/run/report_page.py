"""A run as one self-contained HTML page: no script, nothing fetched, figures and curves inside."""

import functools
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from callbacks.run import charts
from callbacks.run.embedded import embedded
from callbacks.run.run_files import FINISHED, RUNNING, Run, stage_of
from zoo.core.atomic import atomic_write
from zoo.core.findings import NO, NOT_SHOWN, YES, Answer, Finding, Verdict, write, write_value

SIZE = {"width": charts.WIDTH, "height": charts.HEIGHT, "left": charts.LEFT}
_KINDS = {YES: "yes", NO: "no", NOT_SHOWN: "not-shown"}
_STAGE_WORDS = {"test": "test", "val": "validation", "train": "training", "": "run"}
_SHOWN_ELSEWHERE = {"command", "answer", "counts", "noun", "caveat", "next", "title", "seconds", "figures", "status"}
_MOST_CURVES, _FEWEST_CURVES = 60, 6  # of one run, and of many on one page
MOST_ROWS, _MOST_CHARACTERS = 500, 50_000
_MOST_REFERENCES = 3  # in a tile


@functools.cache
def _environment() -> jinja2.Environment:
    """Once a process: compiling the templates takes ten times as long as filling them."""
    loader = jinja2.PackageLoader("callbacks.run", "templates")
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def render(template: str, **values: Any) -> str:
    """Fill one of the page's templates; text is escaped."""
    return _environment().get_template(template).render(values)


def page(run: Run) -> str:
    """The page of one run."""
    answer = run.answer
    findings = answer.findings if answer else ()
    shown = {finding.metric for finding in findings}
    metrics = [(name, number(v)) for name, v in run.metrics(run.stage).items() if name not in shown]
    drawn = curves([run], [finding.metric for finding in findings])
    return render(
        "report.html.jinja",
        running=run.status == RUNNING,
        page_title=run.name,
        eyebrow=eyebrow(run),
        heading=answer.question if answer else str(run.facts.get("title") or run.name),
        boxes=[*_status_boxes(run), *([verdict_box(run, answer)] if answer else [])],
        tiles=_tiles(findings),
        plot=_plot(findings, str(run.facts.get("noun", "samples"))),
        numbers=[_row(finding, str(run.facts.get("noun", "samples"))) for finding in findings],
        figures=_figures(run),
        metrics=metrics[:MOST_ROWS],
        stage_words=_STAGE_WORDS[run.stage],
        curves=drawn,
        curve_words=_some([curve.title for curve in drawn], 3),
        option_words=_option_words(run),
        command=run.facts.get("command"),
        facts=[(name.replace("_", " "), value) for name, value in run.facts.items() if name not in _SHOWN_ELSEWHERE],
        config=run.config[:_MOST_CHARACTERS],
        size=SIZE,
    )


def number(value: float) -> str:
    """A logged number as the tables show it."""
    return f"{value:.5g}" if math.isfinite(value) else f"{value} (not finite)"


def unbroken(text: str) -> str:
    """The same with no line's end between a number and its per cent sign."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def capitalised(text: str) -> str:
    """The same with a capital at the beginning and a full stop at the end."""
    text = unbroken(text.strip())
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".") if text else ""


def seconds_of(run: Run) -> str:
    """How long the run took, as people write it."""
    seconds = run.facts.get("seconds")
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return str(run.facts.get("time", ""))
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def eyebrow(run: Run) -> list[str]:
    """The line above the heading: what ran, on what, how long."""
    counts, noun = run.facts.get("counts"), run.facts.get("noun", "samples")
    counts = {part: n for part, n in counts.items() if isinstance(n, int) and n} if isinstance(counts, dict) else {}
    if counts.get("labelled") == counts.get("training"):
        counts.pop("labelled", None)
    known = [f"{count:,} {part}" for part, count in counts.items()]
    status = run.status.partition(":")[0]
    parts = [
        "pretraining-zoo",
        str(run.facts.get("title", "")),
        run.name,
        ", ".join(filter(None, (status, seconds_of(run)))),
        f"seed {run.facts['seed']}" if "seed" in run.facts else "",
        f"{', '.join(known)} {noun}" if known else "",
    ]
    return [part for part in parts if part]


def _status_boxes(run: Run) -> list[dict[str, Any]]:
    """What is to be known before the answer: it is still running, or broke off."""
    if run.status == RUNNING:
        return [box("running", "Still running", "This page reloads itself every 15 seconds")]
    if not run.complete:
        status, _, reason = run.status.partition(":")
        return [box("failed", status.capitalize(), reason.strip() or "The run was ended before its time")]
    return []


def box(kind: str, answer: str, sentence: str, notes: Sequence[str] = (), command: str = "") -> dict[str, Any]:
    """What stands in a box: an answer in bold, a sentence, smaller lines and a command."""
    return {"kind": kind, "answer": answer, "sentence": capitalised(sentence), "notes": list(notes), "next": command}


def verdict_kind(verdict: Verdict) -> str:
    """The answer's class in the style sheet."""
    return _KINDS.get(verdict.answer, "unknown")


def verdict_box(run: Run, answer: Answer) -> dict[str, Any]:
    """The answer and its sentence, and what they rest on where that is not the test."""
    notes = [capitalised(str(run.facts.get("caveat") or ""))]
    if answer.advice:
        notes.append(f"Try next: {answer.advice.replace('`', '')}.")
    if run.stage != "test" and run.status != FINISHED:
        notes.append("Preliminary: of validation, which also chooses the checkpoint.")
    return box(
        verdict_kind(answer.verdict),
        answer.verdict.answer,
        answer.verdict.reason,
        [note for note in notes if note],
        str(run.facts.get("next") or ""),
    )


def _tiles(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """The first finding of each group, four at most."""
    first: dict[str, Finding] = {}
    for finding in findings:
        first.setdefault(finding.group, finding)
    return [
        {"group": group, "value": unbroken(write(finding)), "text": "; ".join([finding.title, *_compared(finding)])}
        for group, finding in list(first.items())[:4]
    ]


def _compared(finding: Finding, most: int = _MOST_REFERENCES) -> list[str]:
    return [unbroken(f"{r.title} {write_value(r.value, finding.unit)}") for r in finding.references[:most]]


def _plot(findings: Sequence[Finding], noun: str) -> dict[str, Any] | None:
    """The finding that the verdict is of, its references and intervals, and in which range a difference is chance."""
    compared = [finding for finding in findings if finding.references]
    leading = next((finding for finding in [*(f for f in compared if f.baselines), *compared]), None)
    if leading is None:
        return None
    rows, off = charts.on_scale(charts.plot_rows(leading))
    baseline = next((reference for reference in leading.baselines if reference.chance), None)
    chance = (baseline.chance or 0.0) if baseline else 0.0
    band = (baseline.value - chance, baseline.value + chance) if baseline else None
    dots = charts.dot_plot(rows, leading.unit, band)
    of = f" of {leading.samples:,} {noun}" if leading.samples else ""
    caption = [capitalised(leading.meaning)]
    if any(row.interval for row in rows):
        caption.append(f"Bars are 95 % intervals{of}.")
    if band and baseline:
        caption.append(f"Shaded: what differs from {baseline.title} by chance.")
    if off:
        caption.append(f"Off the scale: {off.title} {write_value(off.value, leading.unit)}.")
    title = capitalised(f"{leading.group}: {leading.title}").rstrip(".")
    return {"title": title, "dots": dots, "caption": unbroken(" ".join(caption))} if dots else None


def _row(finding: Finding, noun: str) -> dict[str, Any]:
    interval = finding.interval
    parts = (
        [f"{write_value(interval[0], finding.unit)} to {write_value(interval[1], finding.unit)}"] if interval else []
    )
    parts += [f"of {finding.samples:,} {noun}"] if finding.samples else []
    return {
        "title": finding.title,
        "value": unbroken(write(finding)),
        "precision": unbroken(", ".join(parts)),
        "compared": _compared(finding, len(finding.references)),
        "meaning": capitalised(finding.meaning),
    }


def _figures(run: Run) -> list[dict[str, Any]]:
    """Figures in the order of importance; a damaged one is left out."""
    texts = {name: run.figure_text(name) for name in run.figures}
    names = sorted(texts, key=lambda name: (texts[name].rank, name))
    images = embedded([run.figures[name] for name in names])
    return [
        {
            "title": texts[name].title,
            "look": texts[name].look,
            "alt": f"Figure {name}: {texts[name].title}",
            "image": image,
        }
        for name, image in zip(names, images, strict=True)
        if image
    ]


def curves(runs: Sequence[Run], important: Sequence[str] = ()) -> list[charts.Curve]:
    """Metrics by step: the loss first, then those named, learning rates last.

    Args:
        runs: Runs, each in a colour of its own.
        important: Names of metrics, the most important first.
    """
    names = {stage_of(metric)[1] for run in runs for metric in run.curves if stage_of(metric)[0] != "test"}
    # A baseline (knn_pixels) belongs into the figure of what it is compared with (knn).
    main = [name for name in names if name.rpartition("_")[0] not in names]
    ranks = {name: i for i, name in enumerate(dict.fromkeys(important))}

    def order(name: str) -> tuple[Any, ...]:
        return name != "loss", "loss" not in name, name.startswith("lr"), ranks.get(name, len(ranks)), name

    drawn = (
        _curve(runs, name, sorted(n for n in names if n.rpartition("_")[0] == name)) for name in sorted(main, key=order)
    )
    most = max(_FEWEST_CURVES, _MOST_CURVES // len(runs))
    return list(itertools.islice((curve for curve in drawn if curve), most))


def _curve(runs: Sequence[Run], name: str, baselines: Sequence[str]) -> charts.Curve | None:
    series = []
    for colour, run in enumerate(runs):
        which = f" {run.name}" if len(runs) > 1 else ""
        for metric, kind, title in (
            (f"train/{name}", "train", "training"),
            (f"val/{name}", "val", "validation"),
            (name, "val", name),
        ):
            series.append(charts.Series(title + which, kind, colour, run.curves.get(metric, [])))
        for baseline in baselines:
            title = baseline.removeprefix(f"{name}_").replace("_", " ")
            series.append(charts.Series(title + which, "baseline", colour, run.curves.get(f"val/{baseline}", [])))
    return charts.curve(name, series, max(5, charts.BUCKETS // len(runs)))


def _some(names: Sequence[str], most: int) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _option_words(run: Run) -> str:
    changed, all_of_them = (
        [name for name in options if not name.endswith("class_path")] for options in (run.changed, run.options)
    )
    return f"changed options ({len(changed)} of {len(all_of_them)})" if all_of_them else "options"


def write_page(text: str, path: Path) -> None:
    """Write a page atomically; what UTF-8 does not have (of undecodable file names) is written as "?".

    Raises:
        ValueError: the path is a folder's.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file for the page, {path}/report.html for example")
    atomic_write(path, lambda tmp_path: Path(tmp_path).write_bytes(text.encode("utf-8", "replace")))
