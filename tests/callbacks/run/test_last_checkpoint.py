"""The checkpoint to resume from is there whatever happened, and a resumed run knows the earlier best."""

import shutil

import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer

from callbacks.run.best_checkpoint import BestCheckpoint
from callbacks.run.last_checkpoint import LastCheckpoint
from datamodules.images import Digits
from zoo import AutoencoderModule


def fit(folder, ckpt_path=None, more=(), **options):
    callbacks = [BestCheckpoint(filename="best", monitor="val/loss", enable_version_counter=False), LastCheckpoint()]
    fitting = quiet_trainer(folder, callbacks=[*more, *callbacks], enable_checkpointing=True, **options)
    fitting.fit(AutoencoderModule((1, 8, 8), latent_dim=4), Digits(), ckpt_path=ckpt_path)
    return callbacks[0]


def read(path):
    return torch.load(path, weights_only=True)


def test_there_is_one_without_a_validation(tmp_path, caplog):
    fit(tmp_path, max_epochs=2, check_val_every_n_epoch=50)
    last, best = (read(tmp_path / f"checkpoints/{name}.ckpt") for name in ("last", "best"))
    assert last["global_step"] == best["global_step"] == 22
    assert "nothing was validated" in caplog.text


def test_there_is_one_of_the_last_epoch_which_was_not_validated(tmp_path):
    fit(tmp_path, max_epochs=3, check_val_every_n_epoch=2)
    steps = [read(tmp_path / f"checkpoints/{name}.ckpt")["global_step"] for name in ("best", "last")]
    assert steps == [22, 33]


@pytest.mark.parametrize("moved", [False, True])
def test_a_resumed_run_keeps_the_earlier_best(tmp_path, capsys, moved):
    first = fit(tmp_path / "1", max_epochs=2)
    folder = tmp_path / "1/checkpoints"
    if moved:
        folder = shutil.move(tmp_path / "1", tmp_path / "elsewhere") / "checkpoints"
    second = fit(tmp_path / "2", folder / "last.ckpt", max_epochs=3)
    kept = tmp_path / "2/checkpoints/best.ckpt"
    score = float(first.best_model_score)
    assert float(second.best_model_score) <= score and second.best_model_path == str(kept)
    assert f"val/loss {score:.5g}, is kept in {kept}" in capsys.readouterr().out
    assert read(kept)["global_step"] in (22, 33)


class Spoil(pl.Callback):
    """Whatever is trained from now on is worse."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        with torch.no_grad():
            for parameter in pl_module.parameters():
                parameter.mul_(0.5)


def test_only_a_better_one_takes_its_place(tmp_path):
    first = fit(tmp_path / "1", max_epochs=2)
    second = fit(tmp_path / "2", tmp_path / "1/checkpoints/last.ckpt", max_epochs=3, more=[Spoil()])
    best, last = (read(tmp_path / f"2/checkpoints/{name}.ckpt") for name in ("best", "last"))
    assert (best["global_step"], last["global_step"]) == (22, 33)
    assert float(second.best_model_score) == float(first.best_model_score)


def test_a_best_that_is_gone_is_said(tmp_path, caplog):
    fit(tmp_path / "1", max_epochs=1)
    (tmp_path / "1/checkpoints/best.ckpt").unlink()
    second = fit(tmp_path / "2", tmp_path / "1/checkpoints/last.ckpt", max_epochs=2)
    assert "is gone: its val/loss" in caplog.text and second.best_model_path == str(
        tmp_path / "2/checkpoints/best.ckpt"
    )


def test_a_test_has_no_best_of_its_own(tmp_path):
    fit(tmp_path / "1", max_epochs=1)
    best = BestCheckpoint(filename="best", monitor="val/loss")
    testing = quiet_trainer(tmp_path / "2", callbacks=[best], enable_checkpointing=True)
    path = tmp_path / "1/checkpoints/best.ckpt"
    testing.test(AutoencoderModule((1, 8, 8), latent_dim=4), Digits(), ckpt_path=path, verbose=False)
    assert not (tmp_path / "2/checkpoints").exists()
