"""What a run found: numbers beside what each must be compared with, and the sentence that answers the run's question.

A callback with ``findings(trainer, module)`` gives what it measured last. A module's ``headline`` names its question
and which groups of findings matter most. Table and report show the same ``Answer``.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Interval = tuple[float, float]

PERCENT, NUMBER, COUNT = "percent", "number", "count"  # how a value is written


class Reference(NamedTuple):
    """What a finding is compared with.

    ``chance`` is the largest difference from the finding that is chance, in the value's unit, where that is known. A
    baseline is what needs no pretraining (or no adaptation, no teacher ...): the verdict is against the best of them.
    """

    title: str  # "raw pixels"
    value: float
    interval: Interval | None = None
    chance: float | None = None
    baseline: bool = False


class Finding(NamedTuple):
    """A number, how many samples it is of, and what it must be compared with."""

    group: str  # row of the final table: "features"
    title: str  # "linear probe"
    value: float
    meaning: str  # "right answers of a linear classifier on the features; more is better"
    unit: str = NUMBER
    samples: int = 0  # test samples
    interval: Interval | None = None
    references: tuple[Reference, ...] = ()
    higher_is_better: bool = True
    metric: str = ""  # name under which it is logged, without the stage: "probe"
    note: str = ""  # "of 10", "in nats a pixel"
    text: str = ""  # where words say more than the number: "kabul, taliban, afghan"

    @property
    def baselines(self) -> list[Reference]:
        """References that need no pretraining, the best first."""
        return sorted((r for r in self.references if r.baseline), key=lambda r: r.value, reverse=self.higher_is_better)


PAID = "Did pretraining pay?"
QUESTIONS = {  # of other groups: PAID
    "samples": "Are the samples good?",
    "reconstruction": "Is it better than PCA?",
    "words": "Was anything learned?",
}


class Headline(NamedTuple):
    """A technique's question, and the groups of findings that it shows first; the first with a baseline answers it.

    ``itself`` names references that are the technique itself, or do not compare with it; ``variant`` the hyperparameter
    that says which of its variants ran; ``advice`` is what to try where the answer is not yes, arguments in backquotes.
    """

    groups: tuple[str, ...] = ("accuracy", "features", "reconstruction", "samples")
    question: str = PAID  # answered by the first of the groups
    itself: tuple[str, ...] = ()
    variant: str = ""
    advice: str = "fewer labels (`data.labels_per_class` 10), where pretraining has more to add"


YES, NO, NOT_SHOWN, UNKNOWN = "Yes", "No", "Not shown", "Not known"  # the last without a baseline


class Verdict(NamedTuple):
    """The answer to a run's question, and the sentence that gives the numbers."""

    answer: str  # one of YES, NO, NOT_SHOWN, UNKNOWN
    reason: str


class Answer(NamedTuple):
    """How a run ends."""

    question: str
    verdict: Verdict
    findings: tuple[Finding, ...]  # the most important first
    advice: str = ""  # what to try where the answer is not yes


def verdict_of(finding: Finding, noun: str = "samples") -> Verdict:
    """Compare a finding with the best of its baselines.

    Args:
        finding: Finding with at least one baseline.
        noun: What the samples are: "images".
    """
    baseline = finding.baselines[0]
    gain = finding.value - baseline.value if finding.higher_is_better else baseline.value - finding.value
    chance = (baseline.chance or 0.0) + 1e-9  # shares are rounded
    answer = YES if gain > chance else NO if gain < -chance else NOT_SHOWN
    text = f"{finding.title} {write(finding)}, {baseline.title} {write_value(baseline.value, finding.unit)}"
    return Verdict(answer, text + _chance(finding, baseline, noun))


def _chance(finding: Finding, baseline: Reference, noun: str) -> str:
    """In brackets: of how many samples, and which difference is chance."""
    parts = [f"{finding.samples:,} {noun}"] if finding.samples else []
    if baseline.chance and finding.unit == PERCENT and finding.samples:
        parts.append(f"a difference of {round(baseline.chance * finding.samples):,} is chance")
    elif baseline.chance:
        parts.append(f"a difference of {write_value(baseline.chance, finding.unit)} is chance")
    return f" ({': '.join(parts)})" if parts else ""


def answer_of(headline: Headline, findings: Iterable[Finding], noun: str = "samples") -> Answer:
    """Order findings by the headline's groups and take the verdict from the first that has a baseline.

    Args:
        headline: The technique's question and groups.
        findings: All findings of the run; of several of one metric the last is taken.
        noun: What the samples are.
    """
    ranks = {group: rank for rank, group in enumerate(headline.groups)}
    known = {found.metric or (found.group, found.title): _without(found, headline.itself) for found in findings}
    finite = [found for found in known.values() if math.isfinite(found.value)]
    ordered = sorted(finite, key=lambda found: ranks.get(found.group, len(ranks)))
    judged = next((found for found in ordered if found.baselines and found.group in ranks), None)
    if judged is None:
        return Answer(headline.question, _unjudged(ordered, noun), tuple(ordered))
    own = judged.group == headline.groups[0]
    question = headline.question if own else QUESTIONS.get(judged.group, PAID)
    verdict = verdict_of(judged, noun)
    advice = headline.advice if question == headline.question and verdict.answer != YES else ""
    return Answer(question, verdict, tuple(ordered), advice)


def _without(finding: Finding, itself: Sequence[str]) -> Finding:
    return finding._replace(references=tuple(r for r in finding.references if r.title not in itself))


def collect(trainer: Any, module: Any, noun: str = "samples") -> Answer:
    """What callbacks and module found last, and the answer to the module's question.

    Args:
        trainer: Trainer, whose callbacks may have ``findings(trainer, module)``.
        module: Module, which may have a ``headline``.
        noun: What the samples are.
    """
    found: list[Finding] = []
    for callback in trainer.callbacks:
        if hasattr(callback, "findings"):
            found += callback.findings(trainer, module)
    return answer_of(getattr(module, "headline", Headline()), found, noun)


def _unjudged(findings: Sequence[Finding], noun: str) -> Verdict:
    if not findings:
        return Verdict(UNKNOWN, "nothing was measured")
    first = findings[0]
    beside = [f"{r.title} {write_value(r.value, first.unit)}" for r in first.references]
    beside = [f"95 % interval {write_interval(first)}", *beside] if first.interval else beside
    text = f"{first.title} {write(first)}" + (f" ({', '.join(beside)})" if beside else "")
    return Verdict(UNKNOWN, f"{text}, of {first.samples:,} {noun}" if first.samples else text)


def write(finding: Finding) -> str:
    """A finding's value with its unit and note, or the text that stands for it."""
    return finding.text or " ".join(filter(None, (write_value(finding.value, finding.unit), finding.note)))


def write_interval(finding: Finding) -> str:
    """The bounds of a finding's interval, "" without one; of shares without their unit: "92.6 to 97.1"."""
    if finding.interval is None:
        return ""
    return " to ".join(write_value(bound, finding.unit).removesuffix(" %") for bound in finding.interval)


def write_value(value: float, unit: str) -> str:
    """A value as people read it: per cent with one decimal, counts whole, other numbers with three digits."""
    if unit == PERCENT:
        return f"{100 * value:.1f} %"
    if unit == COUNT:
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def to_plain(answer: Answer) -> dict[str, Any]:
    """An answer as mappings, lists and numbers, for JSON."""
    findings = [
        {**finding._asdict(), "references": [reference._asdict() for reference in finding.references]}
        for finding in answer.findings
    ]
    return {"question": answer.question, **answer.verdict._asdict(), "advice": answer.advice, "findings": findings}


def from_plain(plain: Mapping[str, Any]) -> Answer:
    """The answer that ``to_plain`` wrote.

    Raises:
        KeyError, TypeError: it is not one.
    """
    findings = []
    for found in plain["findings"]:
        references = tuple(Reference(**_tupled(reference)) for reference in found["references"])
        findings.append(Finding(**{**_tupled(found), "references": references}))
    verdict = Verdict(plain["answer"], plain["reason"])
    return Answer(plain["question"], verdict, tuple(findings), plain.get("advice", ""))


def _tupled(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {**plain, "interval": tuple(plain["interval"]) if plain["interval"] else None}
