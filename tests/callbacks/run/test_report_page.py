import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browser import AXE, BROWSER, Browser
from compared_outcome import GAINS, outcome, row
from PIL import Image
from run_folders import SCRATCH, accuracy, found, pretrained, write_run

import callbacks.run
from callbacks.run.charts import on_scale, plot_rows
from callbacks.run.compared import page as compared
from callbacks.run.comparison import comparison
from callbacks.run.embedded import embedded
from callbacks.run.report_page import capitalised, curves, page, seconds_of
from callbacks.run.run_files import read_run
from zoo.core.findings import Reference

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>&"\''
STYLE = (Path(callbacks.run.__file__).parent / "templates/style.css.jinja").read_text()
VOID = {"meta", "img", "line", "rect", "circle", "polyline", "br"}


class Tags(HTMLParser):
    """All elements with their attributes and text, and whether every element that is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.seen, self.open, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.seen if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())


def checked(text):
    """The page's elements, of a page that is as every page should be."""
    tags = Tags(text)
    assert text.startswith("<!doctype html>") and tags.all("html") == [{"lang": "en"}]
    assert any(meta.get("name") == "viewport" for meta in tags.all("meta")) and len(tags.all("main")) == 1
    levels = [int(tag[1]) for tag, _ in tags.seen if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), "no level is left out"
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in tags.seen}
    assert all(image["alt"] and image["src"].startswith("data:image/") for image in tags.all("img"))
    assert all("aria-label" in svg or svg.get("aria-hidden") == "true" for svg in tags.all("svg"))
    assert not [name for _, attributes in tags.seen for name in attributes if name.startswith("on")]
    assert not re.findall(r"(?:href|src|url)\s*[=(]\s*[\"']?https?:", text)
    assert len(text) <= 2_000_000
    return tags


def test_an_answer_stands_first_then_tiles_plot_numbers_and_figures(tmp_path):
    texts = {"late": ["Late", "Look late.", 9], "early": ["Early", "Look here.", 1]}
    counts = {"training": 1295, "labelled": 1295, "validation": 143, "test": 359}
    run = write_run(tmp_path / "a/1", found(), SCRATCH, figures=("late", "early", "plain"), counts=counts,
                    next="python train.py --next", command="python train.py --module x")  # fmt: skip
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "figures": texts}))
    tags = checked(page(read_run(run)))
    order = [
        *("finetune on digits", "finished, 51 s", "1,295 training, 143 validation, 359 test images"),
        *(
            "Did pretraining pay?",
            "Not shown.",
            "Linear probe 95.3 %, raw pixels 96.4 %",
            "a difference of 4 is chance",
        ),
        *("python train.py --next", "features", "reconstruction", "samples", "copies"),
        *("Features: linear probe", "untrained", "Bars are 95 % intervals of 359 images.", "All numbers", "10 of 10"),
        *("Early", "Look here.", "Late", "Look late.", "plain"),
        *("logged numbers of the test", "other", "0.12346", "Curves: loss, probe", "changed options (3 of 5)"),
        "python train.py --module x",
    ]
    places = [tags.text.find(order[0])]
    for text in order[1:]:
        places.append(tags.text.find(text, places[-1]))
        assert places[-1] >= 0, text
    assert len([div for div in tags.all("div") if div.get("class") == "tile"]) == 4
    assert not any(meta.get("http-equiv") == "refresh" for meta in tags.all("meta"))


def test_a_reference_that_is_far_off_does_not_flatten_the_plot(tmp_path):
    far = Reference("most frequent class", 0.1)
    plain = found()[0]
    wide = plain._replace(references=(far, *plain.references))
    rows, off = on_scale(plot_rows(wide))
    assert [row.title for row in rows] == [row.title for row in plot_rows(plain)] and off.title == far.title
    assert on_scale(plot_rows(plain)) == (plot_rows(plain), None)
    three = plain._replace(references=(plain.references[0], far))
    assert on_scale(plot_rows(three)) == (plot_rows(three)[:2], plot_rows(three)[2])
    baseline = plain._replace(references=(far._replace(baseline=True), *plain.references))
    assert on_scale(plot_rows(baseline))[1] is None, "the verdict is against it"
    two = plain._replace(references=(far,))
    assert on_scale(plot_rows(two)) == (plot_rows(two), None), "what little there is to compare with stays"
    tags = checked(page(read_run(write_run(tmp_path / "a/1", [wide]))))
    assert "Off the scale: most frequent class 10.0 %." in tags.text


def test_names_with_html_in_them_are_text(tmp_path):
    evil = found()[0]._replace(title=EVIL, meaning=EVIL, group=EVIL)
    evil = evil._replace(references=(evil.references[0]._replace(title=EVIL),))
    run = write_run(tmp_path / "a<b>&" / "1", [evil], {"x": EVIL}, figures=("<b>bold",), command=EVIL, next=EVIL,
                    status=f"stopped: {EVIL}", noun=EVIL, title=EVIL, counts={EVIL: 3})  # fmt: skip
    (run / "metrics.csv").write_text(f'step,"train/{EVIL.replace(chr(34), "")}"\n1,1\n2,2\n3,1\n')
    other = write_run(tmp_path / "b" / "1", [evil], {"x": "<i>"}, figures=("<b>bold",), status=EVIL)
    for text in (page(read_run(run)), comparison([read_run(run), read_run(other)])[0]):
        tags = checked(text)
        assert 'alert("x")' in tags.text and not {"b onerror", "i", "script"} & {tag for tag, _ in tags.seen}


@pytest.mark.parametrize(
    "status", ["running", "trained", "interrupted", "stopped: out of memory", "stopped:", "finished", ""]
)
def test_every_state_is_shown(tmp_path, status):
    run = write_run(tmp_path / "a/1", found(), status=status)
    (run / "metrics.csv").write_text("step,val/probe\n1,0.9\n2,0.95\n3,0.96\n")
    tags = checked(page(read_run(run)))
    refreshed = any(meta.get("http-equiv") == "refresh" for meta in tags.all("meta"))
    assert refreshed == (status == "running") == ("Still running" in tags.text)
    assert ("Preliminary" in tags.text) == (status != "finished")
    assert "Stopped. Out of memory." in tags.text or not status.endswith("memory")
    assert "Stopped. The run was ended before its time." in tags.text or status != "stopped:"
    assert "Interrupted." in tags.text or status != "interrupted"


def test_runs_of_before_there_were_answers_have_their_numbers_open(tmp_path):
    run = write_run(tmp_path / "a/1", title="")
    (run / "run.json").write_text('{"status": "finished", "time": "66 s", "seed": "0"}')
    tags = checked(page(read_run(run)))
    assert "a/1" in tags.text and "0.95300" not in tags.text and "2 logged numbers of the test" in tags.text
    assert {"open": None} in tags.all("details") and "66 s" in tags.text


@pytest.mark.parametrize("name", ["run.json", "metrics.csv", "config.yaml", "error.log"])
def test_little_is_enough_for_a_page(tmp_path, name):
    (tmp_path / name).write_text("{}" if name == "run.json" else "")
    checked(page(read_run(tmp_path)))


def test_what_is_not_finite_is_said(tmp_path):
    run = write_run(tmp_path / "a/1", found(), seconds=float("nan"))
    (run / "metrics.csv").write_text("step,train/loss,test/x\n1,nan,\n2,inf,\n3,1,\n4,2,\n5,3,nan\n")
    facts = json.loads((run / "run.json").read_text())
    facts["answer"]["findings"][0]["value"] = float("nan")
    facts["answer"]["findings"][0]["interval"] = [float("nan"), float("inf")]
    (run / "run.json").write_text(json.dumps(facts))
    tags = checked(page(read_run(run)))
    assert "nan (not finite)" in tags.text and "nan %" in tags.text and "Curves: loss" in tags.text


def test_a_learning_rate_does_not_drop_the_losses(tmp_path):
    """Metrics without a stage, as ``LearningRateMonitor`` logs them."""
    run = write_run(tmp_path / "a/1")
    assert [curve.title for curve in curves([read_run(run)])] == ["loss", "probe", "lr-AdamW"]
    assert [line.title for line in curves([read_run(run)])[1].lines] == ["validation", "pixels"]
    important = curves([read_run(run)], ["lr-AdamW", "probe"])
    assert [curve.title for curve in important] == ["loss", "probe", "lr-AdamW"], "losses first, rates last"


def test_figures_are_fitted_and_damaged_ones_left_out(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (600, 800, 3), np.uint8)
    for i in range(4):
        Image.fromarray(noise).save(tmp_path / f"large{i}.png")
    Image.fromarray(noise[:50, :70]).save(tmp_path / "small.png")
    (tmp_path / "damaged.png").write_bytes((tmp_path / "small.png").read_bytes()[:4000])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "metrics.csv").write_text("")
    paths = sorted(tmp_path.glob("*.png"))
    images = dict(zip((path.stem for path in paths), embedded(paths), strict=True))
    assert images["damaged"] is None and images["empty"] is None
    assert images["small"].source.startswith("data:image/png") and images["small"][1:] == (70, 50)
    assert sum(len(image.source) for image in images.values() if image) < 1_700_000
    assert len(checked(page(read_run(tmp_path))).all("img")) == 5


def test_a_hundred_figures_and_a_long_configuration_are_within_the_weight(tmp_path):
    run = write_run(tmp_path / "a/1", found(), {"names": ["word" * 20] * 3000}, figures=[f"f{i}" for i in range(100)])
    assert len(checked(page(read_run(run))).all("img")) == 60


@pytest.mark.parametrize(
    "seconds, text", [(51.2, "51 s"), (60, "1 min 0 s"), (3725, "1 h 2 min"), ("x", ""), (None, "")]
)
def test_times_are_as_people_write_them(tmp_path, seconds, text):
    assert seconds_of(read_run(write_run(tmp_path / "a/1", seconds=seconds))) == text


def test_sentences_begin_with_a_capital_and_end_with_a_stop():
    assert [capitalised(text) for text in ("the end", "Why?", "", "at 5 %.")] == ["The end.", "Why?", "", "At 5\xa0%."]


# The style sheet


def palette():
    """The colours of both schemes."""
    light, dark = re.findall(r":root \{([^}]*)\}", STYLE)
    first = dict(re.findall(r"--(\w+): (#\w+)", light))
    return first, {**first, **dict(re.findall(r"--(\w+): (#\w+)", dark))}


def linear(colour):
    """Linear red, green and blue of "#rgb" or "#rrggbb"."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    values = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    return [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]


def luminance(colour):
    """WCAG 2's relative luminance."""
    return sum(weight * v for weight, v in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))


def contrast(first, second):
    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_text_and_marks_have_contrast_in_both_schemes():
    assert contrast("#000", "#fff") == pytest.approx(21) and contrast("#777777", "#fff") == pytest.approx(
        4.48, abs=0.01
    )
    for colours in palette():
        for ground in ("bg", "card"):
            for text in ("fg", "soft", "bad"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground, colours)
            for mark in ("mine", "other", "good", "open", *(f"c{i}" for i in range(6))):
                assert contrast(colours[mark], colours[ground]) >= 3, (mark, ground, colours)


# What people without red or without green cones see, of linear RGB (Machado et al. 2009, severity 1).
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]


def lab(rgb):
    """CIELAB of linear RGB, white D65."""
    x, y, z = np.cbrt(TO_XYZ @ np.clip(rgb, 0.001, 1) / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen", [np.eye(3), PROTANOPIA, DEUTERANOPIA], ids=["all cones", "no red", "no green"])
def test_colours_of_lines_differ_for_the_colour_blind(seen):
    """A difference of 2 is just seen between areas side by side; lines need much more."""
    for colours in palette():
        found = [lab(seen @ np.array(linear(colours[name]))) for name in ("fg", *(f"c{i}" for i in range(6)))]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(found, 2)) > 20


def test_nothing_is_wider_than_a_telephone():
    fixed = [float(size) for size in re.findall(r"(?<![-\w])(?:min-)?width: (\d+)px", STYLE.replace("max-width", ""))]
    assert all(size <= 400 for size in fixed)
    minima = [float(size) for size in re.findall(r"minmax\((\d+)px", STYLE)]
    assert not minima and "min(100%, 350px)" in STYLE
    assert "prefers-color-scheme: dark" in STYLE and "color-scheme: light dark" in STYLE


# In a browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of each kind, with long names."""
    folder = tmp_path_factory.mktemp("pages")
    long = "a_very_long_name_of_a_class_without_any_blank_" * 4
    odd = found()[0]._replace(title=long, group=long)
    figures = ("one", "two", long[:120])
    runs = [
        write_run(folder / "a/1", found(), pretrained(), figures=figures, command="python train.py --x " + "y" * 300),
        write_run(folder / "a/2", [odd, *found()], SCRATCH, figures=figures, status=f"stopped: {long}"),
        write_run(folder / "a/3", status="running"),
        *(write_run(folder / f"b/{i}", accuracy(0.9 + i / 100), SCRATCH, seed=i) for i in range(3)),
        *(write_run(folder / f"c/{i}", accuracy(0.92 + i / 100), pretrained(), seed=i) for i in range(3)),
    ]
    read = [read_run(run) for run in runs]
    techniques = compared(outcome([row(name, n) for n in (1, 10) for name in (long, *GAINS)], failures={long: long}))
    texts = [*map(page, read[:4]), comparison(read)[0], comparison(read[3:])[0], techniques]
    for number, text in enumerate(texts):
        text = re.sub(r'<meta http-equiv="refresh"[^>]*>', "", text)  # it would go away while it is looked at
        (folder / f"{number}.html").write_text(text)
    return [folder / f"{number}.html" for number in range(len(texts))]


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 800, 400])
def test_in_a_browser(pages, tmp_path, width, scheme):
    if BROWSER is None:
        pytest.skip("no Chromium is found: name one in ZOO_BROWSER to see the report in a browser")
    browser = Browser(tmp_path)
    try:
        for path in pages:
            browser.open(path, width, scheme=scheme)
            for opened in (False, True):
                browser.run(f"document.querySelectorAll('details').forEach(d => d.open = {str(opened).lower()})")
                wide = browser.run("document.documentElement.scrollWidth")
                assert wide <= width, f"{path.name} is {wide} pixels wide"
                assert browser.run("Promise.all([...document.images].map(i => i.decode())).then(() => true)")
                faults = browser.faults() if AXE else []
                assert not faults, faults
            ground = browser.run("getComputedStyle(document.body).backgroundColor")
            assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    finally:
        browser.close()
