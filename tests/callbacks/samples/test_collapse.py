import pytest

from callbacks.samples.collapse import CollapseDetector, symptoms

WELL = {"spread": 0.9, "diversity": 0.8, "precision": 0.5, "recall": 0.6, "precision_real": 0.9, "recall_real": 0.9}


def ill(**changes):
    return {**WELL, **changes}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"spread": 0.2}, "few classes (20%"),
        ({"diversity": 0.01}, "hardly any variety (1.0%"),
        ({"recall": 0.0}, "0.0% of the data is covered"),
        ({"precision": 0.01}, "1.0% of the samples look like the data"),
    ],
)
def test_symptoms(changes, words):
    (said,) = symptoms(ill(**changes))
    assert words in said


def test_what_real_images_cannot_do_is_not_asked_of_samples():
    assert symptoms(ill(recall=0.0, recall_real=0.05)) == [] and symptoms(WELL) == []
    assert symptoms({name: value for name, value in WELL.items() if name != "spread"}) == []  # no classes


def test_told_once_when_it_begins_and_again_after_recovery():
    detector = CollapseDetector()
    bad = ill(diversity=0.0)
    told = [detector.update(found) for found in (WELL, bad, bad, bad, WELL, WELL, bad)]
    warning = "mode collapse: hardly any variety (0.0% of the data's variance)"
    over = "the mode collapse is over: samples are as varied as they should be"
    assert told == [None, warning, None, None, over, None, warning]


def test_noise_before_learning_is_not_taken_for_good_samples():
    detector = CollapseDetector()
    bad = ill(recall=0.0)
    assert detector.update(WELL, learning=False) is None and detector.update(bad) is None
    assert detector.update(bad, patient=False, learning=False) is None and detector.update(bad, patient=False)


def test_scores_that_were_withheld_are_no_symptoms():
    assert symptoms({"diversity": 0.8}) == [] and len(symptoms({"diversity": 0.0})) == 1


def test_what_was_never_well_is_given_time():
    detector = CollapseDetector()
    bad = ill(recall=0.0)
    assert detector.update(bad) is None and detector.update(bad) is None
    assert (
        "mode collapse: 0.0% of the data" in detector.update(bad, patient=False)
        and detector.update(bad, patient=False) is None
    )


def test_a_test_is_not_patient():
    assert CollapseDetector().update(ill(spread=0.1), patient=False)
