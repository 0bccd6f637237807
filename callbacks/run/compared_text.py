"""Words of a comparison's page: below its figures, what was held equal, and how intervals and verdicts are made."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from callbacks.run.report_page import unbroken
from zoo.core.duration import duration

FEWEST_SEEDS = 3  # of a verdict

Plan = Mapping[str, Any]
Rows = Sequence[Mapping[str, Any]]


def counted(count: float, noun: str) -> str:
    """Such as "1 seed", "1,986 test samples", "0.5 points"."""
    return f"{count:,} {noun}s".replace(".0 ", " ") if count != 1 else f"1 {noun}"


def listed(names: Sequence[str]) -> str:
    """Such as "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def with_labels(count: int) -> str:
    """Such as "With 10 labels a class"."""
    return f"With {counted(count, 'label')} a class"


def level(plan: Plan) -> str:
    """How often intervals hold what they are of: "95 %"; more where one of several looks ends the comparison."""
    return f"{100 * (1 - plan['alpha']):g} %"


def question(plan: Plan) -> str:
    """What the answers are to."""
    return (
        "Networks that were first trained without labels, against the best that learns from the few labels alone. "
        f"Pretraining pays where it gains more than {counted(plan['worth'], 'point')} of accuracy, beyond chance."
    )


def accuracy_words(rows: Rows, plan: Plan) -> str:
    """What stands below the figure of accuracies."""
    words = ["Dashed: the best of what needs no pretraining, with more labels, too."]
    if rows:
        words = [f"Per cent of test samples that are right, mean of {counted(plan['seeds'], 'seed')}.", *words]
    if any(row["gain_low"] is not None for row in rows):
        words.append(f"Bands and bars: {level(plan)} intervals, for other seeds and other test samples.")
    return unbroken(" ".join(words))


def gain_words(rows: Rows, plan: Plan) -> str:
    """What stands below the figure of gains."""
    words = [f"Solid line: no gain. Dashed line: {counted(plan['worth'], 'point')}, the smallest gain worth having."]
    if any(row["gain_low"] is not None for row in rows):
        words.append(f"Bars: {level(plan)} intervals, each of one comparison alone.")
    else:
        words.append("A single seed has no interval.")
    if plan["seeds"] >= FEWEST_SEEDS and len(rows) > 1:
        words.append(
            f"Verdicts are of all {len(rows)} comparisons together, of which some would look good or bad by chance: "
            "a bar may keep clear of the dashed line where the data cannot tell."
        )
    return unbroken(" ".join(words))


def held_equal(outcome: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values, for a table.

    Args:
        outcome: What ``verdict.json`` holds.
    """
    plan, tuning = outcome["plan"], outcome["plan"]["tuning"]
    longer = counted(plan["longer"], "step")
    rows = [
        ("data", _named(plan["data"], plan["data_options"]) + f", fingerprint {plan['fingerprint']}"),
        ("labels", f"{_joined(plan['labels'])} a class; of one seed the same for all"),
        ("network", network(plan["network"])),
        ("own networks", _own_networks(plan)),
        ("pretraining", _pretraining(plan)),
        ("without pretraining", f"from scratch also {longer} longer, in place of a pretraining"),
        ("fine-tuning", f"{counted(tuning['steps'], 'step')}, batches of {tuning['batch_size']}"),
        ("linear models", f"penalty {tuning['probe_l2']:g} / number of labels"),
        ("augmentation", _options(tuning["augmentation"]) or "as the data's options say"),
        ("seeds", f"{plan['seeds']}, with {_pretrainings(plan)}"),
        ("rates and ways", "the best by validation labels, on two seeds that are not reported"),
        ("test labels", f"of {outcome['tested']:,} samples, read once, when everything was chosen"),
        ("machine", f"{counted(plan['threads'], 'thread')}, precision {plan['precision']}"),
    ]
    return [(name, value) for name, value in rows if value]


def _named(path: str, options: Mapping[str, Any]) -> str:
    return ", ".join(filter(None, (path, _options(options))))


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_value(value)}" for name, value in options.items())


def _value(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _joined(values: Any) -> str:
    return ", ".join(f"{value:,}" for value in values)


def network(text: str) -> str:
    """A network's spec, JSON, in words: "projection, components=16"."""
    spec = json.loads(text) if text else "-"
    return _named(spec["name"], {k: v for k, v in spec.items() if k != "name"}) if isinstance(spec, dict) else str(spec)


def _own_networks(plan: Plan) -> str:
    """Techniques that have another network, and learn by gradients: also compared with that from scratch."""
    own = [f"{t['name']}: {network(t['network'])}" for t in plan["techniques"] if t["own_network"]]
    return f"{'; '.join(own)}; from scratch, they count as ways without pretraining" if own else ""


def _pretraining(plan: Plan) -> str:
    trained = [t for t in plan["techniques"] if t["steps"]]
    seconds = max((t["seconds"] for t in trained), default=0)
    parts = [f"{duration(seconds)} each, in steps whose speed was measured before"] if seconds else []
    if trained and not seconds:
        parts = [f"{_joined(sorted({t['steps'] for t in trained}))} steps each"]
    for t in plan["techniques"]:
        parts += [f"{t['name']}: {counted(t['epochs'], 'epoch')}, its own length"] if t["epochs"] else []
        parts += [f"{t['name']}: weights that exist already"] if t["weights"] else []
    return "; ".join(parts)


def _pretrainings(plan: Plan) -> str:
    count = plan["pretrainings"]
    shared = f"{counted(count, 'pretraining')} of each technique, which they share"
    return shared if count else "a pretraining for each"


def method(plan: Plan, comparisons: int) -> list[str]:
    """Three sentences: the interval, the verdict, and the adjustment of verdicts that are looked at together."""
    worth = counted(plan["worth"], "point")
    together = (
        f"for all {comparisons} comparisons of this page together (Holm's rule)" if comparisons > 1 else "beyond chance"
    )
    these = " of these pretrainings" if plan["pretrainings"] else ""
    lines = (
        "A gain is the accuracy with pretraining less the accuracy without, on the same seeds and test samples; its "
        f"{level(plan)} interval (Banerjee's, by Student's quantiles) is for other seeds{these} and other test "
        "samples, since both are drawn by chance.",
        f"Pretraining pays where its gain is shown to be above {worth}, does not pay where it is shown to be below, "
        "and otherwise the data cannot tell; a verdict needs three seeds or more.",
        f"What is shown must hold {together}: with a chance of 2.5 % at most any technique is said to pay that does "
        "not, and with one of 2.5 % at most any is said not to pay that does.",
    )
    return [unbroken(line) for line in lines]
