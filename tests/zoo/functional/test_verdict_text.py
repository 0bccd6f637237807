import math

import pytest

from zoo.functional.label_worth import LabelWorth
from zoo.functional.verdict import CANNOT_TELL, DOES_NOT_PAY, PAYS
from zoo.functional.verdict_plan import WouldTell
from zoo.functional.verdict_text import label_worth_sentence, verdict_sentence, would_tell_sentence


@pytest.mark.parametrize(
    ("verdict", "interval", "expected"),
    [
        (PAYS, (4.1, 2.9, 5.3), "4.1 points (2.9 to 5.3): it pays."),
        (DOES_NOT_PAY, (-1.3, -2.4, -0.2), "-1.3 points (-2.4 to -0.2): it does not pay."),
        (DOES_NOT_PAY, (0.5, 0.2, 0.8), "0.5 points (0.2 to 0.8): less than 1 point, so it does not pay."),
        (CANNOT_TELL, (1.4, -0.6, 3.4), "1.4 points (-0.6 to 3.4): the data cannot tell whether it pays."),
        (
            CANNOT_TELL,
            (1.4, 0.4, 2.4),
            "1.4 points (0.4 to 2.4): the data cannot tell whether that is 1 point or more.",
        ),
        (CANNOT_TELL, (4, -math.inf, math.inf), "4.0 points: a single seed cannot tell, three or more can."),
        (PAYS, (3.04, -0.04, 6), "3.0 points (0.0 to 6.0): it pays."),
    ],
)
def test_verdicts(verdict, interval, expected):
    found = verdict_sentence(verdict, interval, "contrastive", "10 labels a class", 180)
    assert found == f"With 10 labels a class, 3 minutes of `contrastive` are worth {expected}"


@pytest.mark.parametrize(
    ("verdict", "interval", "encoders", "expected"),
    [
        (PAYS, (4, 3, 5), 1, "this encoder pays."),
        (PAYS, (4, 3, 5), 2, "these 2 encoders pay."),
        (DOES_NOT_PAY, (-4, -5, -3), 1, "this encoder does not pay."),
        (DOES_NOT_PAY, (0.5, 0.4, 0.6), 2, "less than 1 point, so these 2 encoders do not pay."),
        (CANNOT_TELL, (0.5, -1, 2), 1, "the data cannot tell whether this encoder pays."),
    ],
)
def test_of_encoders_that_seeds_share_the_verdict_is_of_these(verdict, interval, encoders, expected):
    assert verdict_sentence(verdict, interval, "som", encoders=encoders).endswith(f"): {expected}")


def test_what_is_not_known_is_left_out():
    assert verdict_sentence(PAYS, (4, 3, 5), "som") == "`som` is worth 4.0 points (3.0 to 5.0): it pays."


def test_a_gain_that_is_chance_among_several_comparisons():
    found = verdict_sentence(CANNOT_TELL, (4, 3, 5), "som", comparisons=6)
    assert found.endswith("(3.0 to 5.0): as one of 6 comparisons that may be chance, which cannot tell.")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.2, "0 seconds of `som` are"),
        (1, "1 second of `som` is"),
        (40, "40 seconds of `som` are"),
        (58, "1 minute of `som` is"),
        (90, "1.5 minutes of `som` are"),
        (1234, "21 minutes of `som` are"),
        (3600, "1 hour of `som` is"),
        (9000, "2.5 hours of `som` are"),
    ],
)
def test_times(seconds, expected):
    assert verdict_sentence(PAYS, (4, 3, 5), "som", seconds=seconds).startswith(expected)


@pytest.mark.parametrize(
    ("would", "expected"),
    [
        (WouldTell(12, None), "12 seeds would tell, if gain and spread stay as they are."),
        (WouldTell(None, 1200), "More seeds would not tell, but 1,200 labelled test samples would, if "),
        (WouldTell(20, 1200), "20 seeds and 1,200 labelled test samples would tell, if "),
        (WouldTell(None, None), "Not even 100 seeds and 1,000,000 labelled test samples would tell, if "),
    ],
)
def test_what_would_tell(would, expected):
    assert would_tell_sentence(would).startswith(expected)


START = "To get there without pretraining takes "


@pytest.mark.parametrize(
    ("worth", "expected"),
    [
        (LabelWorth(3.21, 2.3, 4.4, 5, 0, 0), START + "3.2 times the labels (2.3 to 4.4)."),
        (LabelWorth(0.634, 0.45, 0.81, 5, 0, 0), START + "0.63 times the labels (0.45 to 0.81)."),
        (LabelWorth(8.0, 8.0, math.inf, 5, 5, 0), START + "more than 8 times the labels."),
        (LabelWorth(8.0, 6.93, math.inf, 5, 5, 0), START + "more than 8 times the labels (at least 6.9)."),
        (
            LabelWorth(0.5, 0.0, 0.61, 5, 0, 5),
            "Without pretraining 0.5 times the labels do as well or better (at most 0.61).",
        ),
        (LabelWorth(1.0, 0.0, math.inf, 1, 0, 1), "Without pretraining the same labels do as well or better."),
        (LabelWorth(12.34, 3.1, math.inf, 5, 2, 0), START + "at least 12 times the labels (3.1 or more)."),
        (LabelWorth(0.6, 0.0, 0.9, 5, 0, 2), START + "at most 0.6 times the labels (0.9 or fewer)."),
        (LabelWorth(0.5, 0.0, 0.5, 5, 0, 5), "Without pretraining 0.5 times the labels do as well or better."),
        (LabelWorth(1.0, 0.0, 1.0, 5, 0, 5), "Without pretraining the same labels do as well or better."),
        (LabelWorth(3.2, 0.0, math.inf, 1, 0, 0), START + "3.2 times the labels (of a single seed)."),
        (LabelWorth(8.0, 0.0, math.inf, 1, 1, 0), START + "more than 8 times the labels."),
        (
            LabelWorth(2.0, 0.0, math.inf, 5, 1, 1),
            "What that is worth in labels cannot be said: seeds lie beyond both ends of the curve without pretraining.",
        ),
    ],
)
def test_worth_in_labels(worth, expected):
    assert label_worth_sentence(worth) == expected
