"""The tours of docs/tours, run as printed: each ends in an answer that a newcomer can say again in her own words.

Where what is printed trains for long an end is added, or repeats are left out; verdicts are then of short trainings,
and only their form is checked.
"""

import csv
import random
import re
import shlex
import shutil

import pytest
from conftest import DATA, ROOT
from gensim.test.utils import datapath

TOURS = ROOT / "docs" / "tours"
ANSWER = re.compile(r"^(Did pretraining pay\?|Was anything learned\?)  (Yes|No|Not shown): .+ \d.+$", re.M)


class Tour:
    """A page's programs, written into the folder, and its commands."""

    def __init__(self, name, folder, run_script):
        text = (TOURS / f"{name}.md").read_text()
        self.folder, self.run_script = folder, run_script
        for file, program in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", text, re.S):
            (folder / file).write_text(program)
        blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
        self.commands = [shlex.split(line) for block in blocks for line in block.splitlines()]

    def run(self, words, *more):
        """What a printed command, with more options, prints."""
        assert words[:2] == ["python", "train.py"]
        done = self.run_script(ROOT / "train.py", *words[2:], *more, cwd=self.folder, timeout=600)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def program(self, name):
        """What a printed program prints."""
        done = self.run_script(self.folder / name, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.mark.long
@pytest.mark.skipif(DATA is None, reason="photographs of ants and bees are needed: ZOO_TEST_DATA names no folder")
def test_photographs(tmp_path, run_script):
    source = DATA / "hymenoptera_data"
    if not source.is_dir():
        pytest.skip(f"photographs of ants and bees are needed: there is no {source}")
    tour = Tour("photographs", tmp_path, run_script)
    (tmp_path / "photos").mkdir()
    labels = {}
    for path in sorted((source / "train").rglob("*.jpg")):
        shutil.copy(path, tmp_path / "photos")
        labels[path.name] = path.parent.name
    shutil.copytree(source / "val", tmp_path / "new")
    known = random.Random(0).sample(sorted(labels), 20)
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "label"), *((name, labels[name]) for name in known)])
    pretrain, finetune, predict, export = tour.commands
    assert ANSWER.search(tour.run(pretrain, "--trainer.max_epochs", "2")) is None, "without labels there is no probe"
    said = tour.run(finetune, "--trainer.max_epochs", "3", "--cross_validation.repeats", "1")
    assert ANSWER.search(said) and "153" in said and "20 labelled" in said.replace("20 training", "20 labelled"), said
    tour.run(predict)
    (predictions,) = (tmp_path / "runs").rglob("predictions.csv")
    rows = list(csv.DictReader(predictions.open()))
    assert len(rows) == 153 and {"ants", "bees"} >= {row["class"] for row in rows}, rows[0]
    tour.run(export)
    assert (tmp_path / "classifier.onnx").stat().st_size > 1000


@pytest.mark.long
def test_own_module(tmp_path, run_script):
    tour = Tour("own_module", tmp_path, run_script)
    *runs, report, resume = tour.commands
    assert len(runs) == 6
    for words in runs:
        assert ANSWER.search(tour.run(words, "--trainer.max_epochs", "3"))
    said = tour.run(report)
    assert "compared.html" in said and (tmp_path / "compared.html").stat().st_size > 5000
    page = (tmp_path / "compared.html").read_text()
    assert "3 seeds" in page or "3 runs" in page
    tour.run(resume, "--trainer.max_epochs", "4")
    assert tour.program("embed.py").strip() == "(347, 16)"


@pytest.mark.long
def test_text(tmp_path, run_script):
    tour = Tour("text", tmp_path, run_script)
    (tmp_path / "texts").mkdir()
    shutil.copy(datapath("lee_background.cor"), tmp_path / "texts" / "news.txt")
    (train,) = tour.commands
    said = tour.run(train)
    answer = ANSWER.search(said)
    assert answer and answer[2] == "Yes" and "neighbours" in said
    lines = tour.program("ask.py").splitlines()
    assert len(lines) == 5 and all(len(line.split("', '")) == 5 for line in lines)
