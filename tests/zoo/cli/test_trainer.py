"""What the command line gives the Trainer, and refuses to."""

import pytest
import yaml
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from zoo.cli.trainer import RunLogger, check_options, loggers


@pytest.mark.parametrize(
    "name, value",
    [
        ("log_every_n_steps", 0),
        ("accumulate_grad_batches", 0),
        ("check_val_every_n_epoch", -1),
        ("max_epochs", -5),
        ("limit_val_batches", -0.5),
        ("gradient_clip_val", float("nan")),
        ("num_sanity_val_steps", -2),
    ],
)
def test_numbers_that_lead_nowhere_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"`trainer.{name}` must be .* or more.*; got {value}"):
        check_options({name: value})


def test_other_options_pass():
    check_options({"max_epochs": -1, "log_every_n_steps": 1, "check_val_every_n_epoch": None, "fast_dev_run": False})


def test_the_runs_folder_has_its_files_whoever_logs_beside(tmp_path):
    other = TensorBoardLogger(tmp_path)
    for option, first in (
        (None, CSVLogger),
        (True, CSVLogger),
        (other, TensorBoardLogger),
        ([other], TensorBoardLogger),
    ):
        found = loggers(option, tmp_path / "a/1")
        assert type(found["logger"][0]) in (first, RunLogger)
        assert found["logger"][-1].log_dir == str(tmp_path / "a/1") and found["default_root_dir"] == tmp_path / "a/1"
    assert loggers(False, tmp_path) == {"default_root_dir": tmp_path}


def test_hyperparameters_are_plain_yaml(tmp_path):
    logger = RunLogger(tmp_path, "a", "1")
    logger.log_hyperparams({"betas": (0.5, 0.9), "prior": {"name": "normal", "shape": (1, 2)}, "x": None})
    logger.save()
    text = (tmp_path / "a/1/hparams.yaml").read_text()
    assert yaml.safe_load(text) == {"betas": [0.5, 0.9], "prior": {"name": "normal", "shape": [1, 2]}, "x": None}
