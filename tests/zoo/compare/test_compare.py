"""Whole comparisons on small tables and digits: what is the same, what is known, what goes wrong."""

import csv
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from datamodules.image_base import Split
from datamodules.images import Digits
from datamodules.tabular import Vectors
from zoo import AutoencoderModule, FinetuneModule, save_encoder
from zoo.cli.compare import compare

SMALL = "--data vectors --data.source iris --steps 5 --tuning_steps 5 --labels 3 --seeds 3 "
MADE = f"{__name__}."


def run(out, arguments):
    return compare([*arguments.split(), "--out", str(out)])


def found(out):
    return json.loads((Path(out) / "verdict.json").read_text())


def timeless(out):
    """What a comparison found and all its cells, without times."""
    values = found(out)
    for row in [*values["rows"], *values["features"]]:
        for name in ("minutes", "tuning_minutes", "sentence"):
            row.pop(name, None)
    cells = {}
    for path in sorted((Path(out) / "cells").iterdir()):
        cells[path.name] = json.loads(path.read_text())
        for name in ("seconds", "training_seconds"):
            cells[path.name].pop(name, None)
    return values, cells


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A comparison of two techniques, and what it printed."""
    out = tmp_path_factory.mktemp("small") / "compared"
    return out, run(out, SMALL + "--modules autoencoder,pca")


def test_a_comparison_ends_in_sentences_a_table_and_files(small):
    out, text = small
    first, second, *_ = text.splitlines()
    assert "careful: with 3 labels a class " in text
    assert first.startswith("With 3 labels a class, ") and "`autoencoder`" in first and "`pca`" in second
    rows = found(out)["rows"]
    assert [row["technique"] for row in rows] == ["autoencoder", "pca"]
    for row in rows:
        assert row["gain"] == pytest.approx(row["accuracy"] - row["without"])
        assert row["gain_low"] < row["gain"] < row["gain_high"]
        assert row["verdict"] in ("pays", "does not pay", "cannot tell")
    assert rows[0]["steps"] == 5 and rows[1]["steps"] == 4  # one pass of principal components, in four batches
    table = (out / "table.md").read_text()
    assert table.startswith("| labels a class | technique | accuracy |") and table.count("\n") == 4
    assert [row["technique"] for row in csv.DictReader((out / "table.csv").open())] == ["autoencoder", "pca"]
    cells = list(csv.DictReader((out / "cells.csv").open()))
    assert {cell["stage"] for cell in cells if cell["seed"] in ("1000", "1001")} == {"val"}
    assert {cell["stage"] for cell in cells if cell["seed"] == "2" and cell["mode"] != "pretrain"} == {"test"}


def test_both_sides_are_chosen_from_seven_ways(small):
    tried = {}
    for cell in csv.DictReader((small[0] / "cells.csv").open()):
        if cell["seed"] == "1000" and cell["labels"] == "3":
            tried.setdefault(cell["source"], set()).add((cell["mode"], cell["rate"]))
    without = sum(len(tried[source]) for source in ("untrained", "pixels", "pca_of_pixels"))
    assert len(tried["autoencoder"]) == len(tried["pca"]) == without == 7


def test_a_cell_is_what_the_parts_give(small):
    """Raw inputs, by scikit-learn: which test rows are right."""
    from sklearn.linear_model import LogisticRegression

    data = Vectors("iris")
    data.setup()
    for cell in csv.DictReader((small[0] / "cells.csv").open()):
        if cell["source"] == "pixels" and cell["stage"] == "val" and cell["labels"] == "3":
            chosen = data.labelled_indices(3, int(cell["seed"]))
            x, y = data.splits.rows["train"][chosen].double(), data.splits.labels["train"][chosen]
            mean, std = x.mean(0), x.std(0, correction=0)
            # its penalty is half the squared weights over C, against the sum: ours is 0.25 of them
            model = LogisticRegression(C=2.0, max_iter=1000).fit((x - mean) / std, y)
            val = (data.splits.rows["val"].double() - mean) / std
            right = model.score(val, data.splits.labels["val"])
            assert float(cell["accuracy"]) == pytest.approx(right, abs=1e-9)


def test_the_same_command_makes_the_same_numbers(small, tmp_path):
    run(tmp_path / "again", SMALL + "--modules autoencoder,pca")
    assert timeless(tmp_path / "again") == timeless(small[0])


def test_a_finished_comparison_is_not_made_again(small):
    before = {path: path.stat().st_mtime_ns for path in (small[0] / "cells").iterdir()}
    assert run(small[0], SMALL + "--modules autoencoder,pca").startswith("With 3 labels a class, ")
    assert {path: path.stat().st_mtime_ns for path in (small[0] / "cells").iterdir()} == before


def test_more_techniques_and_seeds_leave_the_rest_as_it_is(tmp_path):
    run(tmp_path, SMALL + "--modules pca")
    before = timeless(tmp_path)
    run(tmp_path, SMALL.replace("--seeds 3", "--seeds 4") + "--modules pca,som:rows=3:columns=3")
    after = timeless(tmp_path)
    assert {name: after[1][name] for name in before[1]} == before[1]
    assert [row["technique"] for row in after[0]["rows"]] == ["pca", "som:rows=3:columns=3"]
    run(tmp_path / "anew", SMALL.replace("--seeds 3", "--seeds 4") + "--modules pca,som:rows=3:columns=3")
    assert timeless(tmp_path / "anew")[0]["rows"] == after[0]["rows"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--tuning_steps 6", "has fine-tuning "),
        ("--steps 6", "has pretrainings of 5 steps, now 6 steps: take another --out"),
        ("--data.batch_size 16", "has data options "),
        ('--network {"name":"mlp","widths":[8]}', "has network "),
        ("--precision bf16-mixed", "has precision 32-true, now bf16-mixed"),
        ("--pretrainings 2", "has pretrainings 0, now 2"),
    ],
)
def test_what_would_make_old_cells_untrue_is_refused(change, message, small):
    option = change.split()[0]
    words = (SMALL + "--modules pca").split()
    if option in words:
        del words[words.index(option) : words.index(option) + 2]
    with pytest.raises(ValueError, match=message):
        run(small[0], " ".join([*words, change]))


class Untrained(AutoencoderModule):
    """Learns nothing: its encoder is the untrained network."""

    def __init__(self, **options):
        super().__init__(**{**options, "lr": 1e-30, "weight_decay": 0.0, "optimizer": "sgd"})


class Constant(AutoencoderModule):
    """Its features are the same for all."""

    def on_train_end(self):
        for parameter in self.encoder.parameters():
            torch.nn.init.zeros_(parameter)


class Failing(AutoencoderModule):
    def loss(self, batch):
        raise RuntimeError("this loss\nhas no value")


class Noise(Digits):
    """Labels that say nothing."""

    def read(self):
        order = torch.Generator().manual_seed(0)
        return {
            name: split._replace(labels=split.labels[torch.randperm(len(split.labels), generator=order)])
            for name, split in super().read().items()
        }


def test_a_technique_that_fails_is_told_and_the_others_are_compared(tmp_path, capsys):
    with pytest.raises(ValueError, match=r"Failing failed: this loss \(.*-pretrain-seed0.failed.txt\)"):
        run(tmp_path, SMALL + f"--modules autoencoder,{MADE}Failing,pca,{MADE}Constant")
    values = found(tmp_path)
    assert [row["technique"] for row in values["rows"]] == ["autoencoder", "pca", f"{MADE}Constant"]
    assert list(values["failures"]) == [f"{MADE}Failing"]
    assert "`autoencoder`" in capsys.readouterr().out
    (log,) = (tmp_path / "cells").glob("*Failing-pretrain-seed0.failed.txt")
    assert "RuntimeError: this loss" in log.read_text()


@pytest.mark.long
def test_processes_make_the_same_numbers(small, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2 * json.loads((small[0] / "plan.json").read_text())["threads"])
    run(tmp_path / "two", SMALL + "--modules autoencoder,pca --jobs 2")
    assert timeless(tmp_path / "two") == timeless(small[0])


@pytest.mark.long
def test_killed_at_any_moment_and_started_again_it_is_the_same(small, tmp_path):
    """SIGKILL, ten times, each a little later."""
    arguments, kills = SMALL + "--modules autoencoder,pca", 0
    moments = random.Random(0)
    for _ in range(10):
        if not (process := os.fork()):
            try:
                run(tmp_path / "killed", arguments)
            finally:
                os._exit(0)
        time.sleep(0.3 + moments.random())
        os.kill(process, signal.SIGKILL)
        kills += os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    assert kills > 2  # otherwise nothing was shown
    run(tmp_path / "killed", arguments)
    assert timeless(tmp_path / "killed") == timeless(small[0])


@pytest.mark.long
def test_answers_that_are_known(tmp_path):
    """An encoder that was given the answer pays; the untrained network and constant features do not."""
    import lightning.pytorch as pl

    data = Digits(batch_size=64)
    data.setup()
    data.splits["train"] = Split(*(torch.cat(parts) for parts in zip(*data.splits.values(), strict=True)))
    told = FinetuneModule((1, 8, 8), 10, backbone="conv", mode="full", lr=3e-3)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "limit_val_batches": 0}
    pl.seed_everything(0, verbose=False)
    pl.Trainer(max_epochs=20, enable_model_summary=False, **quiet).fit(told, data)
    save_encoder(told.encoder, tmp_path / "told")
    run(
        tmp_path / "known",
        f"--data digits --modules {tmp_path}/told,{MADE}Untrained,{MADE}Constant --labels 2 --seeds 5 "
        "--steps 2 --tuning_steps 20",
    )
    rows = {Path(row["technique"]).name.rpartition(".")[2]: row for row in found(tmp_path / "known")["rows"]}
    assert rows["told"]["verdict"] == "pays" and "this encoder pays" in rows["told"]["sentence"]
    assert rows["Untrained"]["over_untrained"] == 0 and rows["Untrained"]["verdict"] != "pays"
    assert rows["Constant"]["verdict"] == "does not pay"


@pytest.mark.long
@pytest.mark.nightly
def test_labels_that_are_noise_never_pay(tmp_path):
    run(tmp_path, f"--data {MADE}Noise --modules autoencoder,pca --labels 1,5 --seeds 3 --steps 20 --tuning_steps 20")
    assert "pays" not in {row["verdict"] for row in found(tmp_path)["rows"]}


class Unlabelled(Digits):
    def read(self):
        return {name: split._replace(labels=None) for name, split in super().read().items()}


def test_without_labels_there_are_measures_and_no_verdict(tmp_path):
    text = run(tmp_path, f"--data {MADE}Unlabelled --modules pca:n_components=8,{MADE}Constant --seeds 1 --steps 1")
    assert "no verdict: these data have no labels" in text
    pca, constant = found(tmp_path)["features"]
    assert pca["dimension"] == 8 and 4 < pca["rank_me"] <= 8 and 0.9 < pca["spread"] <= 1
    assert constant["spread"] == 0
    assert (tmp_path / "table.md").read_text().startswith("| technique | effective rank | of | spread |")


def test_where_validation_is_the_test_another_part_of_the_training_images_validates(tmp_path):
    """And what occurs in both training and test is left out of the test, and told."""
    data, copies = Digits(), 7
    data.setup()
    images = {name: split.images[:count] for (name, split), count in zip(data.splits.items(), (80, 60), strict=False)}
    images["val"] = torch.cat([images["val"], images["train"][:copies]])
    labels = {"train": data.splits["train"].labels[:80], "val": data.splits["val"].labels[:60]}
    labels["val"] = torch.cat([labels["val"], labels["train"][:copies]])
    for part, some in images.items():
        for i, (image, label) in enumerate(zip(some, labels[part], strict=True)):
            folder = tmp_path / "photos" / part / str(int(label) % 2)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(folder / f"{i}.png")
    text = run(
        tmp_path / "out",
        f"--data {tmp_path}/photos --data.size 8 --data.channels 1 --modules pca --labels 3 --seeds 3 --steps 1 "
        "--tuning_steps 1",
    )
    assert f"careful: {copies} test samples occur in training, too, and were left out of the test" in text
    assert found(tmp_path / "out")["tested"] == 60
    stages = {
        cell["stage"]: int(cell["samples"])
        for cell in csv.DictReader((tmp_path / "out" / "cells.csv").open())
        if cell["stage"]
    }
    assert stages == {"val": 8, "test": 67}
