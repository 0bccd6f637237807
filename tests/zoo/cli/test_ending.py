import pytest
from rich.text import Text

from zoo.cli.ending import Ending, ending_lines, write_counts, write_finding, write_seconds
from zoo.core.findings import COUNT, PERCENT, Finding, Headline, Reference, answer_of

PROBE = Finding(
    "features", "linear probe", 342 / 359, "", PERCENT, 359, (0.926, 0.971),
    (Reference("raw inputs", 346 / 359, None, 2 / 359, baseline=True), Reference("most frequent class", 0.1)),
)  # fmt: skip


def words(text: Text) -> str:
    return " ".join(text.plain.split())


def test_the_answer_comes_first_and_each_number_stands_beside_another():
    kabul = Finding("neighbours", "kabul", 2, "", COUNT, text="taliban, afghan")
    many = [PROBE._replace(title=f"measure {i}", group="samples", metric=f"m{i}") for i in range(5)]
    answer = answer_of(Headline(), [PROBE, kabul, *many], "images")
    counts = {"training": 1295, "labelled": 100, "validation": 143, "test": 359}
    ending = Ending("autoencoder (VAE) on Digits", counts, "images", answer, [("next", "python x")], "flatters")
    lines = [words(line) for line in ending_lines(ending, 51.4)]
    assert lines == [
        "autoencoder (VAE) on Digits 1,295 training (100 labelled), 143 validation, 359 test images 51 s",
        "Did pretraining pay? No: linear probe 95.3 %, raw inputs 96.4 % (359 images: a difference of 2 is chance)",
        "try next: fewer labels (`data.labels_per_class` 10), where pretraining has more to add",
        "flatters",
        "features linear probe 95.3 % (92.6 to 97.1) raw inputs 96.4 % most frequent class 10.0 %",
        "samples measure 0 95.3 % (92.6 to 97.1) raw inputs 96.4 % most frequent class 10.0 %",
        "measure 1 95.3 % (92.6 to 97.1) raw inputs 96.4 % most frequent class 10.0 %",
        "neighbours kabul taliban, afghan",
        "next python x",
    ]


def test_a_number_without_an_interval_has_no_brackets():
    assert write_finding(PROBE._replace(interval=None)).startswith("linear probe 95.3 %   raw inputs")


@pytest.mark.parametrize(("seconds", "text"), [(51.4, "51 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations(seconds, text):
    assert write_seconds(seconds) == text


def test_counts_say_only_what_is_known():
    assert write_counts({"test": 359}, "images") == "359 test images"
    assert write_counts({"training": 20, "labelled": 20}, "rows") == "20 training rows"
    assert write_counts({}, "samples") == ""
