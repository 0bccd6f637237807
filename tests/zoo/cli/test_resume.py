"""What a resumed run, a test and a prediction take from their checkpoint: the table in docs/command-line.md."""

import json

import lightning.pytorch as pl
import pytest
import torch
import yaml
from conftest import quiet_trainer
from lightning.pytorch.callbacks import EarlyStopping

from callbacks.run.resumed import ResumedOptions
from datamodules.images import Digits
from zoo import AutoencoderModule
from zoo.cli.shorthand import expand_argv
from zoo.registry import MODULES

OWN_DATA = """
import lightning.pytorch as pl, torch
from torch.utils.data import DataLoader, TensorDataset
class Data(pl.LightningDataModule):
    def loader(self):
        x = torch.rand(48, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        return DataLoader(TensorDataset(x, (x.mean((1, 2, 3)) > 0.5).long()), batch_size=16)
    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader
"""
UNMEASURED = ("--trainer.limit_val_batches=0", "--trainer.limit_test_batches=0")
QUICK = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false")


class Rates(pl.Callback):
    """Learning rate and batch size of each step."""

    def __init__(self):
        self.rates, self.sizes = [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.sizes.append(len(batch["input"]))


def fit(folder, *more, ckpt_path=None, batch_size=32, epochs=1, **options):
    """A run of two steps an epoch, and the checkpoint at its end."""
    seen = Rates()
    trainer = quiet_trainer(folder, callbacks=[seen, *more, ResumedOptions()], max_epochs=epochs, limit_train_batches=2)
    module = AutoencoderModule((1, 8, 8), latent_dim=3, **options)
    trainer.fit(module, Digits(batch_size=batch_size), ckpt_path=ckpt_path)
    path = folder / f"{epochs}.ckpt"
    trainer.save_checkpoint(path)
    return path, module, seen, trainer


def test_rate_and_decay_are_the_checkpoints_and_another_is_told(tmp_path, caplog):
    path, *_ = fit(tmp_path, lr=0.01, weight_decay=0.1, schedule="constant")
    _, _, seen, trainer = fit(tmp_path, ckpt_path=path, epochs=2, lr=0.5, weight_decay=0.2, schedule="constant")
    assert seen.rates == [0.01, 0.01] and trainer.optimizers[0].param_groups[0]["weight_decay"] == 0.1
    assert "`lr` is 0.01, as in the checkpoint, not 0.5" in caplog.text
    assert "`weight_decay` is 0.1, as in the checkpoint, not 0.2" in caplog.text


def test_nothing_is_told_where_nothing_changes(tmp_path, caplog):
    path, *_ = fit(tmp_path, lr=0.01, schedule="linear")
    fit(tmp_path, ckpt_path=path, epochs=2, lr=0.01, schedule="linear")
    assert "resumed" not in caplog.text


def test_the_schedule_has_the_checkpoints_peak_and_progress_and_its_end_from_now(tmp_path):
    path, _, first, _ = fit(tmp_path, lr=0.01, schedule="linear")
    _, _, seen, _ = fit(tmp_path, ckpt_path=path, epochs=4, lr=0.5, schedule="linear")
    assert first.rates == pytest.approx([0.01, 0.005])  # of 2 steps; of 8 from now on
    assert seen.rates[1:] == pytest.approx([0.01 * (1 - step / 8) for step in range(3, 8)])


def test_length_and_batch_size_are_those_of_now_and_steps_count_on(tmp_path):
    path, *_ = fit(tmp_path, epochs=1)
    _, _, seen, trainer = fit(tmp_path, ckpt_path=path, epochs=3, batch_size=16)
    assert seen.sizes == [16] * 4 and trainer.global_step == 6 and trainer.current_epoch == 3


def test_the_seed_of_the_modules_noise_is_the_checkpoints(tmp_path):
    torch.manual_seed(5)
    path, *_ = fit(tmp_path)
    torch.manual_seed(6)
    _, module, *_ = fit(tmp_path, ckpt_path=path, epochs=2)
    assert module._seed == 5


def test_patience_goes_on(tmp_path):
    worse = {"monitor": "val/loss", "min_delta": 1e9, "patience": 5}  # nothing is ever better
    path, *_ = fit(tmp_path, EarlyStopping(**worse), epochs=2)
    stopping = EarlyStopping(**worse)
    fit(tmp_path, stopping, ckpt_path=path, epochs=3)
    assert stopping.wait_count == 2 and float(stopping.best_score) < 1e6


def test_module_options_are_typed_of_the_file_or_the_checkpoints():
    path = MODULES["autoencoder"].path
    saved = {"zoo": {"classes": [path]}, "hyper_parameters": {"latent_dim": 3}}
    words = expand_argv(["fit", "--config", "run.yaml", "--model.latent_dim", "5"], saved)
    kept = f'--model={{"class_path": "{path}", "init_args": {{"latent_dim": 3}}}}'
    assert words == ["fit", kept, "--config", "run.yaml", "--model.latent_dim", "5"]  # the last counts


@pytest.mark.long
def test_devices_are_those_of_now(train, tmp_path):
    pca = ("--module", "pca", "--trainer.limit_train_batches=2", *QUICK, *UNMEASURED)
    assert train(*pca).returncode == 0
    run = tmp_path / "runs/pca-digits"
    done = train("fit", *pca, "--ckpt_path", run / "1", "--trainer.devices=2", "--trainer.max_epochs=2")
    assert done.returncode == 0, done.stderr
    assert "2 process(es)" in json.loads((run / "2/run.json").read_text())["device"]


@pytest.mark.long
def test_data_that_say_no_shape_need_none_from_a_checkpoint_on(train, tmp_path):
    (tmp_path / "mine.py").write_text(OWN_DATA)
    own = ("--module", "pca", "--data", "mine.Data", *QUICK)
    done = train("fit", *own, "--module.input_shape=[1,8,8]", "--module.n_components=3")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs/pca-data/1"
    for command in ("test", "predict"):
        done = train(command, *own, "--ckpt_path", run)
        assert done.returncode == 0, done.stderr
        assert command == "predict" or f"--module.backbone {run}/encoder" in done.stdout
    for options in (("fit", *own), ("fit", "--config", run / "config_full.yaml", *QUICK)):
        done = train(*options, "--ckpt_path", run, "--trainer.max_epochs=2", *UNMEASURED)
        assert done.returncode == 0, done.stderr
    for number in "123":
        for file in ("config", "config_full"):
            config = yaml.safe_load((run.parent / number / f"{file}.yaml").read_text())
            assert config["model"]["init_args"]["input_shape"] == [1, 8, 8]
