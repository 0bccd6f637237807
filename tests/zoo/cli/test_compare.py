"""The arguments of ``compare``, and what cannot be compared: told before anything is trained."""

import re

import pytest

from datamodules.tabular import Vectors
from zoo.cli.compare import compare, request, seconds_of
from zoo.cli.shorthand import UsageError


def test_durations():
    assert [seconds_of(text) for text in ("45s", "3m", "2min", "1.5h", "20")] == [45, 180, 120, 5400, 20]


def test_arguments():
    asked, data, techniques, dry_run = request(
        "--data wine.csv --data.label kind --data.batch_size=8 --modules pca,som:rows=4:columns=4,torchvision:resnet18 "
        "--labels 10,1 --seeds 3..12 --budget 45s --jobs 2 --dry_run".replace("wine.csv", "vectors").split()
    )
    assert asked.data == "datamodules.tabular.Vectors" and data == ["--data.label=kind", "--data.batch_size=8"]
    assert [each.name for each, _ in techniques] == ["pca", "som:rows=4:columns=4", "torchvision:resnet18"]
    assert [words for _, words in techniques] == [[], ["--module.rows=4", "--module.columns=4"], []]
    assert techniques[2][0].weights == "torchvision:resnet18" and techniques[0][0].path == "zoo.modules.pca.PCAModule"
    assert (asked.labels, asked.first_seeds, asked.seeds) == ((1, 10), 3, 12)
    assert (asked.budget, asked.jobs, dry_run) == (45, 2, True)


def test_what_is_compared_is_divided_outside_of_brackets_alone():
    """Weights are told by their path, whatever stands behind a technique's colon."""
    made = {
        'autoencoder:network={"name":"mlp","widths":[8,8]}': ['--module.network={"name":"mlp","widths":[8,8]}'],
        "contrastive:teacher=runs/a/1": ["--module.teacher=runs/a/1"],
    }
    weights = ["runs/a/1", "best.ckpt", "torchvision:resnet18", "./photos of mine/encoder"]
    _, _, techniques, _ = request(["--modules", ",".join([*made, *weights])])
    assert [(each.name, words) for each, words in techniques] == [*made.items(), *((name, []) for name in weights)]
    assert [each.weights for each, _ in techniques] == ["", "", *weights]


def test_a_folder_without_a_slash_is_told_how_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pixels").mkdir()
    with pytest.raises(UsageError, match=r"'pixels' is no technique; an encoder's folder is written \./pixels"):
        request(["--modules", "pixels"])


def test_all_techniques_with_an_encoder_are_compared_by_default():
    names = [each.name for each, _ in request([])[2]]
    assert names == ["autoencoder", "vqvae", "masked", "gan", "contrastive", "som", "pca"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--modules pca,contrasive", "unknown module 'contrasive' (did you mean 'contrastive'?)"),
        ("--modules pca:n_components", "options are written pca:option=value, and 'n_components' has no value"),
        ("--label 10", "unknown option '--label' (did you mean '--labels'?)"),
        ("--labels 0,10", "--labels takes whole numbers from 1; got '0'"),
        ("--labels ten", "--labels takes whole numbers from 1; got 'ten'"),
        ("--seeds 5..3", "the first 3 or more and not above the second"),
        ("--seeds 3 --pretrainings 4", "there is one for each at most"),
        ("--budget 3 --steps 5", "give one of them"),
        ("--budget soon", "--budget takes a time, 45s, 3m or 1h; got 'soon'"),
        ("--budget 0m", "--budget takes a time"),
        ("--worth much", "0 or more and below 100; got 'much'"),
        ("--worth nan", "0 or more and below 100; got 'nan'"),
        ("--worth -1", "0 or more and below 100; got '-1'"),
        ("--network {bad", "--network takes a name, or a mapping"),
        ("--modules ,", "--modules names no technique; there are: autoencoder, "),
        ("--labels ²", "--labels takes whole numbers from 1; got '²'"),
        ("--data.flip --labels 5", "--data.flip needs a value"),
        (f"--out {__file__}", "test_compare.py is a file"),
        (f"--out {__file__}/below", "test_compare.py is a file"),
        ("--data nowhere/", "no file or folder 'nowhere/'"),
        ("--out", "--out needs a value"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        request(arguments.split())


class Gap(Vectors):
    """A class that only test samples have."""

    def setup(self, stage=None):
        super().setup(stage)
        labels = self.splits.labels
        labels["train"] = labels["train"].where(labels["train"] < 2, -1)


class Unvalidated(Vectors):
    """Validation samples without a label."""

    def setup(self, stage=None):
        super().setup(stage)
        self.splits.labels["val"].fill_(-1)


IRIS = "--data vectors --data.source iris --steps 5 --tuning_steps 5 "


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (IRIS + "--labels 3,100", "has 36 training labels, fewer than 100: --labels 3 works"),
        (IRIS + "--labels 100", "fewer than 100: --labels 36 works"),
        ("--data vectors --data.source diabetes --steps 5", "the task of these data is regression"),
        (IRIS + "--modules contrastive --labels 3", "contrastive cannot be built for these data: "),
        (IRIS + "--modules finetune --labels 3", "finetune learns from labels: leave it out"),
        (IRIS + "--modules skipgram --labels 3", "skipgram has no `encoder` that was made from a spec"),
        (IRIS + "--modules torchvision:resnet18 --labels 3", "resnet18 takes images of 1 or 3 channels; got (4,)"),
        (IRIS + "--modules pca --labels 3 --network mpl", "unknown network 'mpl' (did you mean 'mlp'?)"),
        (IRIS + "--modules pca --labels 3 --precision 12", "Precision '12' is invalid"),
        (IRIS + "--modules nowhere/encoder --labels 3", "nowhere/encoder"),
        (IRIS + "--modules nowhere.Mine --labels 3", "nowhere.Mine cannot be imported: ModuleNotFoundError: No module"),
        (IRIS + "--modules zoo.modules.pca.PCB --labels 3", "zoo.modules.pca.PCB cannot be imported: AttributeError"),
        (IRIS + f"--data {__name__}.Gap --modules pca --labels 3", "class 'virginica' has no training label"),
        (IRIS + f"--data {__name__}.Unvalidated --modules pca --labels 3", "no validation sample has a label"),
    ],
)
def test_what_cannot_be_compared_is_told_before_anything_is_trained(arguments, message, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError, UsageError), match=re.escape(message)):
        compare([*arguments.split(), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_wrong_option_of_a_technique_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        compare([*IRIS.split(), "--modules", "pca:n_component=3", "--labels", "3", "--out", str(tmp_path / "out")])
    assert "n_component" in capsys.readouterr().err
