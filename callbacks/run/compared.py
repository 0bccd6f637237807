"""The page of a comparison of techniques: did pretraining pay, with so many labels, and how sure is that?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from callbacks.figures import save_figure
from callbacks.run import report_page
from callbacks.run.compared_charts import PAYS, VERDICTS, gain_plot, label_plot, signed, technique_lines
from callbacks.run.compared_figures import accuracy_figure, gain_figure
from callbacks.run.compared_table import HEADS, table_row, table_words
from callbacks.run.compared_text import (
    FEWEST_SEEDS,
    Plan,
    Rows,
    accuracy_words,
    counted,
    gain_words,
    held_equal,
    listed,
    method,
    question,
    with_labels,
)
from callbacks.run.report_page import box

_MOST_OPEN = 6  # sentences that are shown before the figures; of more the answers are seen first


def write_page(folder: Path, outcome: Mapping[str, Any]) -> str:
    """Write ``report.html`` into a folder, and its two figures as ``accuracy.png`` and ``gains.png``.

    Args:
        folder: Folder of the comparison.
        outcome: What ``verdict.json`` holds: ``rows``, ``curve``, ``failures``, ``copies``, ``tested``, ``seeds``,
            ``alpha``, ``plan``, and ``warnings`` where there are any.

    Returns:
        The line that names the page.
    """
    groups = by_labels(outcome["rows"])
    lines, worth = technique_lines(outcome["rows"]), outcome["plan"]["worth"]
    figures = {"accuracy": accuracy_figure(lines, outcome["curve"]), "gains": gain_figure(groups, worth)}
    for name, figure in figures.items():
        if figure:
            save_figure(figure, folder, name)
        else:  # one of before, when more could be compared
            (folder / f"{name}.png").unlink(missing_ok=True)
    report_page.write_page(page(outcome), folder / "report.html")
    return f"open in a browser: {folder / 'report.html'}"


def by_labels(rows: Rows) -> dict[int, Rows]:
    """Rows by ascending number of labels a class, those of the largest gain first."""
    counts = sorted({row["labels"] for row in rows})
    return {n: sorted((r for r in rows if r["labels"] == n), key=lambda row: -row["gain"]) for n in counts}


def page(outcome: Mapping[str, Any]) -> str:
    """The page as HTML."""
    used = {name: outcome[name] for name in ("seeds", "alpha")}  # of the last look, which may be before all seeds
    outcome = {**outcome, "plan": {**outcome["plan"], **used}}
    rows, plan, groups = outcome["rows"], outcome["plan"], by_labels(outcome["rows"])
    ordered = [row for group in groups.values() for row in group]
    lines = technique_lines(rows)
    accuracy, gains = label_plot(lines, outcome["curve"]), gain_plot(ordered, plan["worth"])
    dots = iter(gains.dots if gains else ())
    return report_page.render(
        "compared.html.jinja",
        running=False,
        page_title="Did pretraining pay?",
        eyebrow=_eyebrow(outcome),
        heading="Did pretraining pay?",
        question=question(plan),
        answers=_answers(groups, plan),
        opened=len(rows) <= _MOST_OPEN,
        problems=_problems(outcome),
        accuracy=accuracy,
        accuracy_words=accuracy_words(rows, plan),
        gains=gains,
        gain_groups=[(with_labels(n), [next(dots) for _ in group]) for n, group in groups.items()],
        gain_words=gain_words(rows, plan),
        heads=HEADS,
        table=[(with_labels(n), [table_row(r, outcome["curve"]) for r in group]) for n, group in groups.items()],
        table_words=table_words(rows),
        equal=held_equal(outcome),
        method=method(plan, len(rows)),
    )


def _eyebrow(outcome: Mapping[str, Any]) -> list[str]:
    plan = outcome["plan"]
    parts = ["pretraining-zoo", plan["data"].rpartition(".")[2]]
    parts += [counted(len(plan["techniques"]), "technique"), counted(plan["seeds"], "seed")]
    return [*parts, counted(outcome["tested"], "test sample")]


def _answers(groups: Mapping[int, Rows], plan: Plan) -> list[tuple[dict[str, Any], list[str]]]:
    """A box for each number of labels, and the sentences in it; before them what keeps verdicts from being told."""
    if not groups:
        return [(box("unknown", "No technique could be compared", ""), [])]
    if plan["seeds"] >= FEWEST_SEEDS:
        return [(_answer(count, rows), _sentences(rows)) for count, rows in groups.items()]
    advice = f"ask for --seeds {FEWEST_SEEDS} or more and the same folder: what is there is kept"
    few = box("not-shown", f"No verdicts of {counted(plan['seeds'], 'seed')}", advice)
    return [(few, []), *((_measured(count, rows), _sentences(rows)) for count, rows in groups.items())]


def _answer(count: int, rows: Rows) -> dict[str, Any]:
    """What pays with so many labels, and by how much; of what the data cannot tell; what does not pay."""
    pays, unsure, not_worth = ([r["technique"] for r in rows if r["verdict"] == verdict] for verdict in VERDICTS)
    kind = "yes" if pays else "not-shown" if unsure else "no"
    gains = [f"{row['gain']:.1f}" for row in rows if row["verdict"] == PAYS]
    rest = [f"{'It gains' if len(gains) == 1 else 'They gain'} {listed(gains)} points."] if gains else []
    rest += [f"Of {listed(unsure)} the data cannot tell."] if unsure else []
    rest += [f"{'Does' if len(not_worth) == 1 else 'Do'} not pay: {listed(not_worth)}."] if not_worth else []
    paying = f"{listed(pays)} {'pays' if len(pays) == 1 else 'pay'}"
    none = "no technique is shown to pay" if unsure else "no technique pays"
    return box(kind, f"{with_labels(count)}, {paying if pays else none}", " ".join(rest))


def _measured(count: int, rows: Rows) -> dict[str, Any]:
    first = rows[0]
    said = f"the largest gain measured is {signed(first['gain'])} points, of {first['technique']}"
    return box("unknown", with_labels(count), said)


def _sentences(rows: Rows) -> list[str]:
    return [report_page.unbroken(row["sentence"].replace("`", "")) for row in rows]


def _problems(outcome: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is to be known beside the answer: what failed, collapsed or was left out."""
    boxes = [box("failed", f"{name} failed", message) for name, message in outcome["failures"].items()]
    collapsed = {row["technique"]: row for row in outcome["rows"] if row["collapsed"]}
    for name, row in collapsed.items():
        pretrainings = f"{row['collapsed']} of {counted(row['pretrainings'], 'pretraining')}"
        reason = "features hardly differ from sample to sample; it counts all the same, as what the technique gave"
        boxes.append(box("not-shown", f"{pretrainings} of {name} collapsed", reason))
    if outcome["copies"]:
        left = counted(outcome["copies"], "test sample")
        reason = f"they occur among the training samples, too; {outcome['tested']:,} others are counted"
        boxes.append(box("not-shown", f"{left} left out", reason))
    return boxes + [box("not-shown", "Warning", text.replace("`", "")) for text in outcome.get("warnings", ())]
