"""The sentences of a comparison: its verdict, what would tell, and what pretraining is worth in labels."""

import math

from zoo.functional.label_worth import LabelWorth
from zoo.functional.verdict import CANNOT_TELL, PAYS
from zoo.functional.verdict_plan import MOST_SAMPLES, MOST_SEEDS, WouldTell


def verdict_sentence(
    verdict: int,
    interval: tuple[float, float, float],
    technique: str,
    labels: str = "",
    seconds: float | None = None,
    worth: float = 1.0,
    comparisons: int = 1,
    encoders: int = 0,
) -> str:
    """Such as "With 10 labels a class, 3 minutes of `contrastive` are worth 4.1 points (2.9 to 5.3): it pays."

    Args:
        verdict: ``PAYS``, ``CANNOT_TELL`` or ``DOES_NOT_PAY``.
        interval: Gain and the bounds of its interval, in points; infinite bounds of a single seed.
        technique: Short name of the technique.
        labels: How many labels: "10 labels a class".
        seconds: Time that pretraining took.
        worth: The smallest gain worth having, in points.
        comparisons: Number of comparisons that the verdict was adjusted for.
        encoders: Number of pretrained encoders that the seeds share, of which alone the verdict then is; 0 where each
            seed has its own.
    """
    gain, low, high = interval
    time = "" if seconds is None else _duration(seconds)
    subject = f"{time} of `{technique}`" if time else f"`{technique}`"
    verb = "is" if not time or time.startswith("1 ") else "are"
    bounds = f" ({_points(low)} to {_points(high)})" if math.isfinite(low) else ""
    answer = _answer(verdict, low, high, worth, comparisons, encoders)
    start = f"With {labels}, {subject}" if labels else subject
    return f"{start} {verb} worth {_points(gain)} points{bounds}: {answer}."


def _answer(verdict: int, low: float, high: float, worth: float, comparisons: int, encoders: int) -> str:
    several = encoders > 1
    who = f"these {encoders} encoders" if several else "this encoder" if encoders else "it"
    pays, does_not_pay = (f"{who} pay", f"{who} do not pay") if several else (f"{who} pays", f"{who} does not pay")
    if verdict == PAYS:
        return pays
    if verdict != CANNOT_TELL:
        return does_not_pay if low <= 0 else f"less than {_unit(worth)}, so {does_not_pay}"
    if not math.isfinite(low):
        return "a single seed cannot tell, three or more can"
    if low > worth or high < worth:
        return f"as one of {comparisons} comparisons that may be chance, which cannot tell"
    return f"the data cannot tell whether {f'that is {_unit(worth)} or more' if low > 0 else pays}"


def would_tell_sentence(would: WouldTell) -> str:
    """What would tell, where the data cannot: "12 seeds would tell, if gain and spread stay as they are."

    Args:
        would: Numbers of seeds and labelled test samples.
    """
    kept = "if gain and spread stay as they are"
    if would.samples is None and would.seeds is None:
        return f"Not even {MOST_SEEDS} seeds and {MOST_SAMPLES:,} labelled test samples would tell, {kept}."
    if would.samples is None:
        return f"{would.seeds} seeds would tell, {kept}."
    if would.seeds is None:
        return f"More seeds would not tell, but {would.samples:,} labelled test samples would, {kept}."
    return f"{would.seeds} seeds and {would.samples:,} labelled test samples would tell, {kept}."


def label_worth_sentence(worth: LabelWorth) -> str:
    """Such as "To get there without pretraining takes 3.2 times the labels (2.3 to 4.4)."

    Args:
        worth: How many times the labels, with its open ends.
    """
    times, low, high = (_times(value) for value in (worth.times, worth.low, worth.high))
    start = "To get there without pretraining takes"
    if worth.above and worth.below:
        return (
            "What that is worth in labels cannot be said: seeds lie beyond both ends of the curve without pretraining."
        )
    if worth.above == worth.seeds:
        return f"{start} more than {times} times the labels{_unless(low, times, 'at least')}."
    if worth.below == worth.seeds:
        fewer = "the same labels" if times == "1" else f"{times} times the labels"
        return f"Without pretraining {fewer} do as well or better{_unless(high, times, 'at most')}."
    if worth.above:
        return f"{start} at least {times} times the labels ({low} or more)."
    if worth.below:
        return f"{start} at most {times} times the labels ({high} or fewer)."
    bounds = f"{low} to {high}" if worth.seeds > 1 else "of a single seed"
    return f"{start} {times} times the labels ({bounds})."


def _unless(bound: str, times: str, which: str) -> str:
    """The bound of an interval in brackets; nothing where it is not known, or as good as the times themselves."""
    return "" if bound in (times, "0", "inf") else f" ({which} {bound})"


def _points(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f}"  # + 0.0: no "-0.0"


def _unit(worth: float) -> str:
    return f"{worth:g} point{'' if worth == 1 else 's'}"


def _times(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _duration(seconds: float) -> str:
    """In the largest unit of which there is one or more: "40 seconds", "3 minutes", "2.5 hours"."""
    unit, size = next(
        (u, s) for u, s in (("hour", 3600), ("minute", 60), ("second", 1)) if seconds >= 0.95 * s or s == 1
    )
    count = seconds / size
    text = f"{count:.0f}" if count >= 9.5 or size == 1 else f"{count:.1f}".removesuffix(".0")
    return f"{text} {unit}" if text == "1" else f"{text} {unit}s"
