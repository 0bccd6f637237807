"""Outcomes of the command ``compare``, written by hand: for tests of what is made of them."""

PLAN = {
    "data": "datamodules.images.Digits",
    "data_options": {"val_size": 200},
    "fingerprint": "c351b3b0534286da",
    "labels": [1, 10, 100],
    "seeds": 3,
    "pretrainings": 0,
    "network": '"conv"',
    "tuning": {"steps": 600, "batch_size": 64, "probe_l2": 0.25, "augmentation": {"shift": 1, "flip": False}},
    "longer": 5400,
    "worth": 1.0,
    "precision": "32-true",
    "threads": 2,
    "seconds_per_step": {},
}
GAINS = {"contrastive": (14.2, 8.75, 0.5), "masked": (2.25, 3.5, 0.25), "gan": (-6.5, -1.25, -3.0)}
VERDICTS = {
    "contrastive": ("pays", "pays", "cannot tell"),
    "masked": ("cannot tell", "pays", "cannot tell"),
    "gan": ("does not pay", "cannot tell", "does not pay"),
}
WITHOUT = {1: 48.0, 10: 77.0, 100: 92.5, 200: 94.5, 400: 96.0}


def row(technique="contrastive", labels=10, gain=8.75, half=1.0, verdict="pays", **more):
    """A row of the table; ``half`` is half the width of its intervals, None of a single seed."""
    ends = {"low": None, "high": None} if half is None else {"low": -half, "high": half}

    def bounds(name, value):
        return {name: value} | {f"{name}_{end}": None if by is None else value + by for end, by in ends.items()}

    accuracy = WITHOUT[labels] + gain
    values = {
        "technique": technique,
        "labels": labels,
        **bounds("accuracy", accuracy),
        **bounds("without", WITHOUT[labels]),
        **bounds("gain", gain),
        "verdict": verdict,
        "as_good_as_best": technique != "gan",
        **bounds("over_scratch", gain + 2.5),
        **bounds("over_untrained", gain - 1.5),
        "knn": accuracy - 7.5,
        "times_labels": 3.2,
        "times_labels_low": 2.4,
        "times_labels_high": 4.1,
        "way": "lp_ft at 0.001",
        "without_way": "scratch, longer at 0.003",
        "steps": 1800,
        "planned_minutes": 3.0,
        "minutes": 2.9,
        "tuning_minutes": 0.35,
        "pretrainings": 3,
        "collapsed": 0,
        "sentence": f"With {labels} labels a class, 3 minutes of `{technique}` are worth {gain:.1f} points.",
    }
    if half is None:  # as they are clipped
        values |= {"accuracy_low": 0.0, "accuracy_high": 100.0, "times_labels_low": 0.0, "times_labels_high": None}
    return {**values, **more}


def technique(name, **more):
    """A technique's entry in the plan."""
    entry = {"name": name, "path": f"zoo.modules.{name}", "options": {}, "weights": "", "steps": 1800, "epochs": 0}
    return {**entry, "network": '"conv"', "own_network": False, "seconds": 180.0, **more}


def outcome(rows=None, techniques=None, plan=None, **more):
    """What ``verdict.json`` holds: three techniques with 1, 10 and 100 labels a class, if nothing else is said."""
    if rows is None:
        rows = [
            row(name, labels, GAINS[name][i], verdict=VERDICTS[name][i])
            for i, labels in enumerate(PLAN["labels"])
            for name in GAINS
        ]
    entries = techniques or [technique(name) for name in dict.fromkeys(row["technique"] for row in rows) or GAINS]
    curve = [{"labels": labels, "accuracy": accuracy} for labels, accuracy in WITHOUT.items()]
    found = {"rows": rows, "curve": curve, "failures": {}, "copies": 0, "tested": 359, "alpha": 0.05}
    plan = {**PLAN, "techniques": entries, **(plan or {})}
    return {**found, "seeds": plan["seeds"], "plan": plan, **more}
