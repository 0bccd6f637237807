"""What the command line gives the Trainer, and refuses to."""

import lightning.pytorch as pl
import pytest
import yaml
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from zoo.cli.errors import explain
from zoo.cli.trainer import RunLogger, check_options, loggers, one_line_errors


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


@pytest.mark.parametrize("devices", ["abc", "0", 0, -2, "1.5", [], ["a"], "x,1", 10**9])
def test_what_is_no_number_of_devices_is_refused(devices):
    with pytest.raises(ValueError, match=r"`trainer\.devices` is a number of devices, 1 or more"):
        check_options({"devices": devices})


@pytest.mark.parametrize("devices", [1, "2", -1, "-1", "auto", [0, 1], "0,1", "1,"])
def test_numbers_indices_and_all_devices_pass(devices):
    check_options({"devices": devices})


def test_a_validation_after_no_batches_is_refused():
    for interval in (0, 0.0):
        with pytest.raises(ValueError, match=r"`trainer\.val_check_interval` must be more than 0"):
            check_options({"val_check_interval": interval})


@pytest.mark.parametrize(
    "option, value, said",
    [
        ("devices", -1, "number of processes"),
        ("devices", [0, 1], "number of processes"),
        ("accelerator", "tpu", "not installed"),
        ("precision", "nonsense", "'nonsense' is invalid"),
        ("strategy", "nonsense", "invalid strategy name"),
        ("gradient_clip_algorithm", "nonsense", "Allowed algorithms"),
        ("val_check_interval", 1.5, "val_check_interval"),
    ],
)
def test_what_a_trainer_refuses_is_one_line(option, value, said):
    with pytest.raises(Exception, match=said) as caught, one_line_errors():
        pl.Trainer(**{"accelerator": "cpu", "logger": False, option: value})
    line = explain(caught.value)
    assert line and "\n" not in line and said in line


def test_no_gpu_is_said_with_what_to_do():
    if not pl.accelerators.CUDAAccelerator.is_available() and not pl.accelerators.MPSAccelerator.is_available():
        with pytest.raises(ValueError, match=r"trainer\.accelerator` gpu: torch finds no GPU"), one_line_errors():
            pl.Trainer(accelerator="gpu", logger=False)


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
