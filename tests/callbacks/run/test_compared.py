import html
import re
from pathlib import Path

import pytest
from compared_outcome import GAINS, WITHOUT, outcome, row, technique
from PIL import Image

import callbacks.run
from callbacks.run.compared import page, write_page
from callbacks.run.compared_charts import gain_plot, gain_text, label_plot, technique_lines
from callbacks.run.compared_figures import COLOURS, accuracy_figure, gain_figure
from callbacks.run.compared_table import HEADS, table_row, times_labels
from callbacks.run.compared_text import counted, held_equal

EVIL = '<script>alert("x")</script>&$x^'


def words(text):
    """What is read, without tags and styles, in one line."""
    text = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def boxes(text):
    """The classes and words of the boxes, from top to bottom."""
    found = re.findall(r'<div class="verdict ([\w-]+)">(.*?)</div>', text, flags=re.DOTALL)
    return [(kind, words(inner)) for kind, inner in found]


# Words


def test_the_answers_come_first_then_sentences_figures_and_numbers():
    text = page(outcome())
    places = [text.index(found) for found in ("With 1 label a class, contrastive pays.", "3 minutes of contrastive",
              "Accuracy against labels<", "Gains over the best", "<table", "What was held equal")]  # fmt: skip
    assert places == sorted(places)
    assert [(kind, said.partition(" Each technique")[0]) for kind, said in boxes(text)] == [
        ("yes", "With 1 label a class, contrastive pays. It gains 14.2 points. Of masked the data cannot tell. "
                "Does not pay: gan."),
        ("yes", "With 10 labels a class, contrastive and masked pay. They gain 8.8 and 3.5 points. "
                "Of gan the data cannot tell."),
        ("not-shown", "With 100 labels a class, no technique is shown to pay. Of contrastive and masked the data "
                      "cannot tell. Does not pay: gan."),
    ]  # fmt: skip


def test_every_sentence_is_told_in_the_box_of_its_labels():
    found = outcome()
    by_labels = dict(zip((1, 10, 100), boxes(page(found)), strict=True))
    assert all(each["sentence"].replace("`", "") in by_labels[each["labels"]][1] for each in found["rows"])


def test_few_sentences_are_open_and_many_are_not():
    assert "<details open>" in page(outcome([row()])) and "<details open>" not in page(outcome())


def test_nothing_that_pays():
    rows = [row(name, gain=-3.0, verdict="does not pay") for name in GAINS]
    ((kind, said),) = boxes(page(outcome(rows)))
    assert kind == "no" and said.startswith(
        "With 10 labels a class, no technique pays. Do not pay: contrastive, masked and gan."
    )


def test_what_failed_collapsed_or_was_left_out_is_told():
    rows = [row(), row("gan", 1, -6.5, collapsed=2), row("gan", 10, -6.5, collapsed=2)]
    failures = {"vqvae": "ValueError: no room (cells/vqvae.failed.txt)"}
    warnings = ["Seed 3 of `gan` is far from the others"]
    found = boxes(page(outcome(rows, failures=failures, copies=14, tested=345, warnings=warnings)))[2:]
    assert [kind for kind, _ in found] == ["failed", "not-shown", "not-shown", "not-shown"]
    begins = [
        "vqvae failed. ValueError: no room (cells/vqvae.failed.txt).",
        "2 of 3 pretrainings of gan collapsed.",
        "14 test samples left out. They occur among the training samples, too; 345 others",
        "Warning. Seed 3 of gan is far from",
    ]
    assert all(said.startswith(begin) for (_, said), begin in zip(found, begins, strict=True))
    assert len(boxes(page(outcome()))) == 3


def test_names_and_messages_are_escaped():
    text = page(outcome([row(EVIL)], failures={EVIL: EVIL}, warnings=[EVIL]))
    assert "<script" not in text and text.count(html.escape(EVIL, quote=False).partition("alert")[0]) >= 6


def test_counts_have_their_plural():
    counts = [counted(1, "seed"), counted(1986, "sample"), counted(1.0, "point"), counted(0.5, "point")]
    assert counts == ["1 seed", "1,986 samples", "1 point", "0.5 points"] and counted(2.0, "point") == "2 points"


# Numbers


def test_numbers_are_those_of_the_rows():
    found = outcome()
    text = page(found)
    table = re.search(r"<tbody>.*</table>\s*</div>", text, flags=re.DOTALL).group()
    lines = [[words(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", line)] for line in table.split("</tr>")]
    read = {}
    for line in filter(None, lines):
        if len(line) == 1:
            labels = int(line[0].split()[1])
        else:
            read[line[0], labels] = dict(zip(HEADS, line, strict=True))
    assert len(read) == len(found["rows"])
    for one in found["rows"]:
        cells = read[one["technique"], one["labels"]]
        ends = " to ".join(f"{one[f'accuracy_{end}']:.1f}" for end in ("low", "high"))
        assert cells["accuracy, %"] == f"{one['accuracy']:.1f} {ends}"
        assert cells["best without pretraining, %"] == f"{WITHOUT[one['labels']]:.1f} scratch, longer at 0.003"
        for head, name in zip(
            [h for h in HEADS if "gain" in h], ("gain", "over_scratch", "over_untrained"), strict=True
        ):
            assert cells[head] == f"{one[name]:+.1f} {one[f'{name}_low']:+.1f} to {one[f'{name}_high']:+.1f}"
        assert cells["verdict"] == one["verdict"] and cells["nearest neighbours, %"] == f"{one['knn']:.1f}"
        assert f"{one['verdict']} {gain_text(one)}" in words(text)
    assert list(read["gan", 1].values())[8:] == [
        "3.2 times 2.4 to 4.1", "lp_ft at 0.001", "3.0 min", "2.9 min", "21 s", "1,800"
    ]  # fmt: skip


def test_the_largest_gain_stands_first_and_as_good_as_the_best_in_bold():
    rows = [row("gan", gain=-6.5), row("masked", gain=3.5), row("contrastive", gain=8.75)]
    text = page(outcome(rows))
    assert re.findall(r'<tr><th scope="row">(\w+)</th><td class="(strong)?">', text) == [
        ("contrastive", "strong"), ("masked", "strong"), ("gan", "")
    ]  # fmt: skip
    assert "Bold: as good as the best" in text


@pytest.mark.parametrize(
    "times, low, high, half, expected",
    [
        (3.2, 2.4, 4.1, 1.0, ("3.2 times", "2.4 to 4.1")),
        (40.0, 31.0, None, 1.0, ("at least 40 times", "31 or more")),
        (0.1, 0.0, 0.4, 1.0, ("at most 0.1 times", "0.4 or fewer")),
        (3.0, 0.0, None, 1.0, ("cannot be said", "")),
        (3.2, 0.0, None, None, ("3.2 times", "")),
        (40.0, 0.0, None, None, ("at least 40 times", "")),
        (0.1, 0.0, None, None, ("at most 0.1 times", "")),
    ],
)
def test_worth_in_labels_says_where_the_curve_ends(times, low, high, half, expected):
    ends = {"times_labels": times, "times_labels_low": low, "times_labels_high": high}
    assert times_labels(row(half=half, **ends), outcome()["curve"]) == expected


# Figures


def test_thresholds_are_drawn_on_the_scale_of_the_gains():
    rows = [row(gain=8.0), row("gan", gain=-4.0)]
    plot = gain_plot(rows, 2.0)
    first, second = (dot.place for dot in plot.dots)
    assert plot.marks == pytest.approx((second + (first - second) / 3, second + (first - second) / 2), abs=0.02)
    assert [dot.kind for dot in plot.dots] == ["pays", "pays"] and plot.dots[0].bar[0] < first < plot.dots[0].bar[1]
    text = page(outcome(rows, plan={"worth": 2.0}))
    for mark in plot.marks:
        assert text.count(f'x1="{mark}%" x2="{mark}%" y1="0" y2="100%"') >= 2, "a line in every row"
    assert "Dashed line: 2 points" in words(text)
    upright = [line.get_xdata()[0] for line in gain_figure({10: rows}, 2.0).axes[0].lines if line.get_ydata()[-1] == 1]
    assert {0.0, 2.0} <= set(upright)


def test_all_gains_above_the_threshold_still_show_it():
    plot = gain_plot([row(gain=20.0)], 1.0)
    assert 0 < plot.marks[0] < plot.marks[1] < plot.dots[0].bar[0]


def test_labels_are_on_a_logarithmic_axis_and_bands_are_the_intervals():
    found = outcome()
    plot = label_plot(technique_lines(found["rows"]), found["curve"])
    assert [line.title for line in plot.lines] == [*GAINS, "without pretraining"]
    first = plot.lines[0]
    (x1, y1), (x10, _), (x100, y100) = first.marks
    assert x10 - x1 == pytest.approx(x100 - x10, abs=0.02) and y1 > y100, "more accurate is higher"
    assert all(0 <= place <= 100 for line in plot.lines for mark in line.marks for place in mark)
    assert first.band == " ".join(
        f"{x:g},{end:g}" for x, end in [(x, low) for x, low, _ in first.bars] + [(x, high) for x, _, high in
                                                                               reversed(first.bars)]
    )  # fmt: skip
    per_point = (first.bars[0][1] - first.bars[0][2]) / 2  # intervals are two points wide
    assert per_point * (92.5 + 0.5 - 48 - 14.2) == pytest.approx(y1 - y100, abs=1)
    assert len(plot.lines[-1].marks) == len(WITHOUT) and plot.lines[-1].number is None
    assert [text for _, text in plot.x_ticks] == ["1", "10", "100", "200", "400"]


def test_the_legend_has_the_order_in_which_lines_end():
    rows = [row("gan", 100, -3.0), row("masked", 100, 0.25), row("contrastive", 100, 0.5)]
    legend = label_plot(technique_lines(rows), outcome()["curve"]).legend
    assert [line.title for line in legend] == ["contrastive", "masked", "gan", "without pretraining"]


def test_figures_hold_the_numbers():
    found = outcome()
    axes = accuracy_figure(technique_lines(found["rows"]), found["curve"]).axes[0]
    drawn = {line.get_label(): line for line in axes.lines}
    assert list(drawn["contrastive"].get_ydata()) == [each["accuracy"] for each in found["rows"][::3]]
    assert list(drawn["without pretraining"].get_ydata()) == list(WITHOUT.values())
    without = drawn["without pretraining"]
    assert without.get_color() == "k" and without.get_linestyle() == "--" and axes.get_xscale() == "log"
    assert len({drawn[name].get_color() for name in GAINS}) == 3


def test_page_and_figures_have_the_same_colours():
    style = (Path(callbacks.run.__file__).parent / "templates/style.css.jinja").read_text()
    assert tuple(re.findall(r"--c\d: (#\w{6})", style)[:6]) == COLOURS, "the light ones"


# What is there and what is not


def test_files_are_written_and_the_line_names_the_page(tmp_path):
    line = write_page(tmp_path, outcome([row(EVIL, labels) for labels in (1, 10)]))
    assert line == f"open in a browser: {tmp_path / 'report.html'}"
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "accuracy.png", "gains.png"}
    text = (tmp_path / "report.html").read_text()
    assert "http" not in text.replace("http-equiv", "") and "<script" not in text
    for name in ("accuracy", "gains"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.width == 900 and len(image.convert("L").getcolors()) > 10


def test_a_single_seed_has_neither_verdicts_nor_intervals():
    rows = [row(name, gain=gains[1], half=None, verdict="cannot tell") for name, gains in GAINS.items()]
    text = page(outcome(rows, plan={"seeds": 1}))
    assert boxes(text)[0][0] == "not-shown" and boxes(text)[0][1].startswith("No verdicts of 1 seed. Ask for --seeds 3")
    assert "The largest gain measured is +8.8 points, of contrastive." in boxes(text)[1][1]
    assert not re.search(r"\b(None|nan|inf|null)\b", words(text)) and "A single seed has no interval." in text
    assert '<line class="bar' not in text and "<polygon" not in text and '<line class="end"' not in text
    assert "Bold:" not in text and 'class="strong">' not in text.partition("<tbody>")[2].partition("</table>")[0]
    assert all(not soft for cell, soft in table_row(rows[0], outcome()["curve"])["cells"] if "scratch" not in soft)
    assert not accuracy_figure(technique_lines(rows), []).axes[0].collections


def test_of_several_looks_the_page_is_of_the_one_that_ended_it():
    text = words(page(outcome([row()], plan={"seeds": 12}, seeds=5, alpha=0.0125)))
    assert "12 seeds" not in text and "mean of 5 seeds" in text
    assert "95 %" not in text and text.count("98.75 % interval") == 3


def test_intervals_of_shared_pretrainings_are_of_these():
    assert "for other seeds of these pretrainings and other" in words(page(outcome(plan={"pretrainings": 2})))
    assert "for other seeds and other" in words(page(outcome()))


def test_two_seeds_have_intervals_and_no_verdicts():
    text = page(outcome([row(verdict="cannot tell")], plan={"seeds": 2}))
    assert boxes(text)[0][1].startswith("No verdicts of 2 seeds.") and '<line class="bar cannot-tell"' in text


def test_where_everything_failed_the_page_says_so_and_old_figures_go(tmp_path):
    write_page(tmp_path, outcome())
    write_page(tmp_path, outcome([], failures={"contrastive": "killed", "gan": "killed"}))
    text = (tmp_path / "report.html").read_text()
    assert [said for _, said in boxes(text)] == [
        "No technique could be compared.", "contrastive failed. Killed.", "gan failed. Killed."
    ]  # fmt: skip
    assert "Gains over" not in text and "All numbers" not in text and "What was held equal" in text
    assert not (tmp_path / "gains.png").exists() and (tmp_path / "accuracy.png").exists()
    write_page(tmp_path, outcome([], curve=[]))
    assert not (tmp_path / "accuracy.png").exists() and "Accuracy against" not in (tmp_path / "report.html").read_text()


def test_what_was_held_equal_is_that_of_the_plan():
    own = '{"name": "gan_resnet", "width": 64}'
    entries = [
        technique("contrastive"),
        technique("gan", network=own, own_network=True),
        technique("pca", steps=0, epochs=1, seconds=0.0),
        technique("resnet", path="", weights="torchvision/resnet18", steps=0, seconds=0.0),
    ]
    told = dict(held_equal(outcome(techniques=entries, plan={"pretrainings": 2})))
    assert told["data"] == "datamodules.images.Digits, val_size=200, fingerprint c351b3b0534286da"
    assert told["network"] == "conv" and told["own networks"].startswith("gan: gan_resnet, width=64; from scratch")
    assert told["pretraining"] == (
        "3 min each, in steps whose speed was measured before; pca: 1 epoch, its own length; "
        "resnet: weights that exist already"
    )
    assert told["fine-tuning"] == "600 steps, batches of 64" and told["augmentation"] == "shift=1, flip=no"
    assert told["seeds"] == "3, with 2 pretrainings of each technique, which they share"
    assert told["test labels"].startswith("of 359 samples, read once") and told["machine"].startswith("2 threads")


def test_steps_that_were_given_are_told():
    told = dict(held_equal(outcome(techniques=[technique("contrastive", seconds=0.0), technique("gan", seconds=0.0)])))
    assert told["pretraining"] == "1,800 steps each" and "own networks" not in told


def test_the_method_names_the_threshold_and_the_comparisons():
    text = words(page(outcome(plan={"worth": 0.5})))
    assert "above 0.5 points" in text and "for all 9 comparisons of this page together (Holm's rule)" in text
