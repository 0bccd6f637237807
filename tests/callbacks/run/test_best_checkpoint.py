from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer

from callbacks.features.evaluation import Representation
from callbacks.run.best_checkpoint import BestCheckpoint
from datamodules.images import Digits
from zoo import AutoencoderModule


def trained(folder, epochs=5, callbacks=(), **options):
    pl.seed_everything(0, verbose=False)
    best = BestCheckpoint(folder, "best", enable_version_counter=False, mode="max", **options)
    module = AutoencoderModule((1, 8, 8), network={"name": "conv", "width": 8}, latent_dim=4)
    fit = quiet_trainer(folder, max_epochs=epochs, callbacks=[*callbacks, best], enable_checkpointing=True)
    fit.fit(module, Digits())
    return best, fit


def test_a_monitor_may_be_a_metric_of_a_callback(tmp_path):
    """Logged at every second validation only: the best of these is kept."""

    class Curve(pl.Callback):
        def __init__(self):
            self.values = {}

        def on_validation_end(self, trainer, module):
            if not trainer.sanity_checking and trainer.current_epoch in (1, 3, 4):
                self.values[trainer.current_epoch] = trainer.callback_metrics["val/probe"].item()

    curve = Curve()
    best, _ = trained(tmp_path, callbacks=[Representation(every_n_epochs=2), curve], monitor="val/probe")
    assert best.best_model_score.item() == pytest.approx(max(curve.values.values()))
    epoch = torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"]
    assert curve.values[epoch] == pytest.approx(max(curve.values.values()))


def test_a_metric_that_nobody_logs_is_named_and_the_run_goes_on(tmp_path, caplog):
    best, fit = trained(tmp_path, epochs=2, monitor="val/prob")
    assert fit.current_epoch == 2 and not best.best_model_path
    assert "no validation had the metric 'val/prob'" in caplog.text and "val/loss" in caplog.text


def test_an_older_checkpoints_best_is_remembered(tmp_path):
    best, _ = trained(tmp_path, epochs=1, monitor="val/loss")
    assert best.state_key.startswith("ModelCheckpoint{")
    assert best.state_key in torch.load(tmp_path / "best.ckpt", weights_only=True)["callbacks"]


def test_a_best_of_the_same_name_in_another_working_folder_is_copied(tmp_path, monkeypatch):
    """A run's own paths are relative: here they lead to nothing, or to the best of a run of no concern."""

    def train(epochs, **options):
        best = BestCheckpoint(None, "best", enable_version_counter=False, monitor="val/loss")
        trainer = quiet_trainer("run", max_epochs=epochs, callbacks=[best], enable_checkpointing=True, **options)
        return best, trainer, AutoencoderModule((1, 8, 8), network="mlp"), Digits()

    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "first")
    first, trainer, *parts = train(1)
    trainer.fit(*parts)
    last = tmp_path / "first" / Path(first.best_model_path).with_name("last.ckpt")
    trainer.save_checkpoint(last)
    known = Path(first.best_model_path).read_bytes()
    monkeypatch.chdir(tmp_path / "second")
    for other in (None, b"of another run"):
        if other:
            Path(first.best_model_path).write_bytes(other)
        best, trainer, *parts = train(2, limit_val_batches=0)
        trainer.fit(*parts, ckpt_path=last)
        assert best.best_model_path == first.best_model_path and best.best_model_score == first.best_model_score
        assert Path(best.best_model_path).read_bytes() == known
