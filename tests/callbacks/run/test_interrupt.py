import signal

import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer

from callbacks.run.interrupt import Interrupt
from datamodules.images import Digits
from zoo import AutoencoderModule


class PressAt(pl.Callback):
    """Ctrl-C during some batches."""

    def __init__(self, *batches):
        self.batches = batches

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        for _ in range(self.batches.count(batch_idx)):
            signal.raise_signal(signal.SIGINT)


def fit(folder, *callbacks, **options):
    quiet_trainer(folder, callbacks=list(callbacks), **options).fit(AutoencoderModule((1, 8, 8)), Digits())


def test_the_batch_is_finished_and_the_checkpoint_written(tmp_path, capsys):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, Interrupt("go on with {path}"), PressAt(3))
    path = tmp_path / "checkpoints/interrupted.ckpt"
    assert torch.load(path, weights_only=True)["global_step"] == 4
    assert f"go on with {path}" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_an_accumulated_step_is_finished_first(tmp_path):
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, Interrupt(), PressAt(4), accumulate_grad_batches=4)
    assert torch.load(tmp_path / "checkpoints/interrupted.ckpt", weights_only=True)["global_step"] == 2


def test_a_second_time_stops_at_once(tmp_path):
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, Interrupt(), PressAt(3, 3))
    assert not (tmp_path / "checkpoints").exists()


def test_undisturbed_training_leaves_the_signal_as_it_was(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    fit(tmp_path, Interrupt())
    assert signal.getsignal(signal.SIGINT) is before
