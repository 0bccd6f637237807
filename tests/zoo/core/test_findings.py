import json

import pytest

from zoo.core.findings import (
    COUNT,
    NO,
    NOT_SHOWN,
    PAID,
    PERCENT,
    UNKNOWN,
    YES,
    Finding,
    Headline,
    Reference,
    answer_of,
    from_plain,
    to_plain,
    write,
    write_value,
)


def probe(value, pixels, chance=2 / 359, **rest):
    references = (
        Reference("raw pixels", pixels, (0.93, 0.98), chance, baseline=True),
        Reference("untrained network", 0.808, baseline=True),
        Reference("chance", 0.1),
    )
    return Finding("features", "linear probe", value, "right answers", PERCENT, 359, (0.92, 0.97), references, **rest)


FID = Finding("samples", "FID", 7.9, "distance", samples=359, references=(Reference("real images", 0.4),),
              higher_is_better=False)  # fmt: skip


@pytest.mark.parametrize(("value", "pixels", "answer"), [
    (342 / 359, 346 / 359, NO), (345 / 359, 346 / 359, NOT_SHOWN), (350 / 359, 346 / 359, YES),
    (346 / 359, 346 / 359, NOT_SHOWN), (348 / 359, 346 / 359, NOT_SHOWN),
])  # fmt: skip
def test_a_difference_within_chance_is_no_answer(value, pixels, answer):
    assert answer_of(Headline(), [probe(value, pixels)]).verdict.answer == answer


def test_the_sentence_has_both_numbers_the_count_and_what_chance_is():
    verdict = answer_of(Headline(), [FID, probe(342 / 359, 346 / 359)], "images").verdict
    assert verdict == (NO, "linear probe 95.3 %, raw pixels 96.4 % (359 images: a difference of 2 is chance)")


def test_the_best_baseline_is_the_one_to_beat():
    found = probe(0.80, 0.70)
    assert [reference.title for reference in found.baselines] == ["untrained network", "raw pixels"]
    assert answer_of(Headline(), [found]).verdict.answer == NO


def test_less_is_better_where_it_is():
    found = Finding("reconstruction", "MSE", 0.0095, "error", references=(Reference("PCA", 0.0113, baseline=True),),
                    higher_is_better=False)  # fmt: skip
    assert answer_of(Headline(), [found]).verdict == (YES, "MSE 0.0095, PCA 0.0113")


def test_the_headline_orders_findings_and_chooses_the_judge():
    headline = Headline(("samples", "features"), "Are the samples good?")
    answer = answer_of(headline, [probe(0.9, 0.8), FID], "images")
    assert [finding.title for finding in answer.findings] == ["FID", "linear probe"]
    assert answer.verdict.answer == YES and answer.question == PAID, "FID has no baseline, the probe has"


def test_each_group_answers_its_own_question():
    beside = FID._replace(references=(Reference("Gaussian", 20.0, baseline=True),))
    assert answer_of(Headline(("samples", "features"), "As good as real?"), [beside]).question == "As good as real?"
    assert answer_of(Headline(), [beside]).question == "Are the samples good?"


def test_the_technique_itself_is_no_baseline():
    answer = answer_of(Headline(itself=("raw pixels",)), [probe(0.9, 0.9)])
    assert answer.verdict.answer == YES and "raw pixels" not in answer.verdict.reason


def test_what_is_not_finite_is_left_out_and_the_last_of_a_metric_counts():
    bad = probe(float("nan"), 0.5)
    assert answer_of(Headline(), [bad]).findings == ()
    first, last = probe(0.9, 0.8, metric="probe"), probe(0.7, 0.8, metric="probe")
    assert answer_of(Headline(), [first, last]).findings == (last,)


def test_without_a_baseline_the_first_number_stands_beside_its_reference():
    verdict = answer_of(Headline(), [FID], "images").verdict
    assert verdict == (UNKNOWN, "FID 7.9 (real images 0.4), of 359 images")
    assert answer_of(Headline(), []).verdict == (UNKNOWN, "nothing was measured")


def test_advice_is_given_unless_the_answer_is_yes():
    headline = Headline(advice="fewer labels")
    assert answer_of(headline, [probe(0.9, 0.95)]).advice == "fewer labels"
    assert answer_of(headline, [probe(0.99, 0.95)]).advice == ""
    assert from_plain({"question": "?", "answer": "", "reason": "", "findings": []}).advice == "", "of an older run"


def test_json_and_back():
    answer = answer_of(Headline(), [FID, probe(0.9, 0.8, metric="probe")])
    assert from_plain(json.loads(json.dumps(to_plain(answer)))) == answer


@pytest.mark.parametrize(("value", "unit", "text"), [
    (0.95265, PERCENT, "95.3 %"), (10.0, COUNT, "10"), (12345.0, COUNT, "12,345"), (0.0095123, "number", "0.00951"),
    (1234.5, "number", "1,234"), (float("nan"), "number", "nan"),
])  # fmt: skip
def test_numbers_as_people_read_them(value, unit, text):
    assert write_value(value, unit) == text


def test_a_note_follows_the_value():
    assert write(Finding("samples", "classes", 10, "", COUNT, note="of 10")) == "10 of 10"
