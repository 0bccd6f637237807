"""The folder of a run, and the two YAML files that repeat it."""

import json
import os

import pytest
import torch
import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.cli import LightningArgumentParser

from zoo.cli.run_folder import RUN_DIR, SaveConfig, forget_run_folder, keep_failure, keep_traceback, run_folder
from zoo.registry import MODULES

UNMEASURED = ("--trainer.limit_val_batches=0", "--trainer.limit_test_batches=0")


def last_weights(folder):
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(autouse=True)
def no_run(monkeypatch):
    monkeypatch.setenv(RUN_DIR, "x")
    monkeypatch.delenv(RUN_DIR)


def test_folders_are_numbered_and_shared_by_ranks(tmp_path, monkeypatch):
    assert [run_folder(tmp_path).name for _ in range(2)] == ["1", "2"]
    (tmp_path / "7").mkdir()
    assert run_folder(tmp_path) == tmp_path / "8"
    monkeypatch.setenv("LOCAL_RANK", "1")
    forget_run_folder()
    assert run_folder(tmp_path) == tmp_path / "8"
    monkeypatch.setenv("LOCAL_RANK", "0")
    forget_run_folder()
    assert RUN_DIR not in os.environ and keep_traceback() == ""


def test_a_traceback_is_kept_in_the_folder(tmp_path):
    folder = run_folder(tmp_path)
    try:
        raise ValueError("why")
    except ValueError:
        assert keep_traceback() == f"  [details: {folder}/error.log]"
    assert "ValueError: why" in (folder / "error.log").read_text()


def test_a_failure_is_kept_in_the_folder_of_the_first_process(tmp_path, monkeypatch):
    keep_failure("stopped: nowhere to write")
    folder = run_folder(tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "1")
    keep_failure("stopped: of another process")
    assert not list(folder.iterdir())
    monkeypatch.setenv("LOCAL_RANK", "0")
    keep_failure("stopped: no images in it")
    assert json.loads((folder / "run.json").read_text())["status"] == "stopped: no images in it"


def short(tmp_path, *arguments):
    """What ``config.yaml`` says of a command line."""
    parser = LightningArgumentParser()
    parser.add_argument("--seed_everything", type=bool | int, default=0)
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.add_lightning_class_args(EarlyStopping, "stop")
    parser.add_subclass_arguments(LightningModule, "model", required=False)
    saver = SaveConfig(parser, parser.parse_args([*arguments, "--stop.monitor=a"]))
    saver.folder = str(tmp_path)
    saver.save_config(None, None, "fit")
    return yaml.safe_load((tmp_path / "config.yaml").read_text())


def test_only_what_differs_from_the_defaults(tmp_path):
    assert short(tmp_path, "--trainer.max_epochs=3", "--trainer.devices=auto") == {
        "seed_everything": 0,
        "trainer": {"max_epochs": 3},
        "stop": {"monitor": "a"},
    }


@pytest.mark.parametrize(
    "option, value",
    [("seed_everything", False), ("trainer.overfit_batches", 0), ("trainer.overfit_batches", 1), ("stop.patience", 4)],
)
def test_values_that_python_takes_for_the_same_are_kept_apart(tmp_path, option, value):
    found = short(tmp_path, f"--{option}={str(value).lower()}")
    for name in option.split("."):
        found = found[name]
    assert found == value and type(found) is type(value)


def test_a_mapping_is_kept_whole_and_a_class_by_its_path(tmp_path):
    path = MODULES["autoencoder"].path
    found = short(tmp_path, f"--model={path}", "--model.network={name: conv, width: 16}", "--model.beta=1.0")
    assert found["model"] == {"class_path": path, "init_args": {"network": {"name": "conv", "width": 16}}}
    assert short(tmp_path, f"--model={path}")["model"] == {"class_path": path}


@pytest.mark.long
def test_both_files_repeat_the_run_to_the_bit(train, tmp_path):
    options = (
        "--module.latent_dim=5",
        "--module.network={name: conv, width: 8}",
        "--data.shift=1",
        "--seed_everything=3",
    )
    quick = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=3", *UNMEASURED)
    first = train("--module", "autoencoder", *options, *quick)
    assert first.returncode == 0, first.stderr
    runs = tmp_path / "runs/autoencoder-digits"
    for file in ("config", "config_full"):
        done = train("fit", "--config", runs / f"1/{file}.yaml")
        assert done.returncode == 0, done.stderr
    for file in ("config", "config_full"):
        on = ("--ckpt_path", runs / "1/checkpoints/last.ckpt", "--trainer.max_epochs=2")
        done = train("fit", "--config", runs / f"1/{file}.yaml", *on)
        assert done.returncode == 0, done.stderr
    weights = [last_weights(runs / str(n)) for n in range(1, 6)]
    for one, other in ((0, 1), (0, 2), (3, 4)):
        assert all(torch.equal(weights[one][name], weights[other][name]) for name in weights[one])
    files = [[(runs / n / f"{file}.yaml").read_text() for n in "123"] for file in ("config", "config_full")]
    assert [len(set(texts)) for texts in files] == [1, 1]
    config = yaml.safe_load(files[0][0])
    assert config["seed_everything"] == 3 and config["model"]["init_args"]["latent_dim"] == 5
    assert set(config) == {"seed_everything", "trainer", "model", "data", "checkpoint"}
    full = yaml.safe_load(files[1][0])
    assert not set(full) & {name for entry in MODULES.values() for name in entry.callbacks}


def test_a_config_of_the_users_own_is_not_overwritten(train, tmp_path):
    """Without a logger, the run's folder has its files all the same; a logger of the user's may point anywhere."""
    text = "# mine\nmodel: zoo.modules.autoencoder.AutoencoderModule\ndata: datamodules.images.Digits\n"
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "version_0").mkdir()
    (tmp_path / "version_0/config.yaml").write_text(text)
    quick = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=1", *UNMEASURED)
    done = train("fit", "--config", "config.yaml", *quick, "--trainer.logger=false")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "runs", "version_0"]
    assert (tmp_path / "runs/autoencoder-digits/1/checkpoints/best.ckpt").is_file()
    own = (
        "--trainer.logger=CSVLogger",
        "--trainer.logger.save_dir=.",
        "--trainer.logger.name=",
        "--trainer.logger.version=0",
    )
    done = train("fit", "--config", "config.yaml", *quick, *own)
    assert done.returncode == 1 and "config.yaml is there already" in done.stderr
    assert (tmp_path / "config.yaml").read_text() == (tmp_path / "version_0/config.yaml").read_text() == text
