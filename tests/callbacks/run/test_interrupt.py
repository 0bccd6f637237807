import signal

import lightning.pytorch as pl
import pytest
import torch
from conftest import quiet_trainer

from callbacks.run.interrupt import Interrupt
from callbacks.run.last_checkpoint import LastCheckpoint
from datamodules.images import Digits
from zoo import AutoencoderModule


class PressAt(pl.Callback):
    """Ctrl-C, or another signal, during some batches."""

    def __init__(self, *batches, number=signal.SIGINT):
        self.batches, self.number = batches, number

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        for _ in range(self.batches.count(batch_idx)):
            signal.raise_signal(self.number)


def fit(folder, *callbacks, **options):
    quiet_trainer(folder, callbacks=list(callbacks), **options).fit(AutoencoderModule((1, 8, 8)), Digits())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_batch_is_finished_and_the_checkpoint_written(tmp_path, capsys, number):
    before = signal.getsignal(number)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, Interrupt("go on with {path}"), PressAt(3, number=number))
    path = tmp_path / "checkpoints/interrupted.ckpt"
    assert torch.load(path, weights_only=True)["global_step"] == 4
    assert f"go on with {path}" in capsys.readouterr().err
    assert signal.getsignal(number) is before


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


def test_an_epoch_shorter_than_an_accumulated_step_ends_it(tmp_path):
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, Interrupt(), PressAt(4), accumulate_grad_batches=100)
    assert torch.load(tmp_path / "checkpoints/interrupted.ckpt", weights_only=True)["global_step"] == 1


def test_during_the_last_validation_it_is_not_overheard(tmp_path):
    class Late(pl.Callback):
        def on_validation_end(self, trainer, pl_module):
            if not trainer.sanity_checking:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, Interrupt(), Late())
    assert torch.load(tmp_path / "checkpoints/interrupted.ckpt", weights_only=True)["global_step"] == 11


def test_it_goes_where_the_other_checkpoints_are_and_a_second_time_names_the_last(tmp_path, capsys):
    folder = tmp_path / "my {own} folder"
    last = LastCheckpoint(str(folder))
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, Interrupt("{path} {folder}"), last, PressAt(3), enable_checkpointing=True)
    assert f"'{folder}/interrupted.ckpt' {tmp_path}\n" in capsys.readouterr().err
    (folder / "last.ckpt").touch()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, Interrupt("{path}"), LastCheckpoint(str(folder)), PressAt(3, 3), enable_checkpointing=True)
    assert f"'{folder}/last.ckpt'\n" in capsys.readouterr().err


@pytest.mark.long
def test_two_processes_stop_together(two_processes, tmp_path):
    """The signal reaches one of them, in an epoch shorter than the steps between logs."""
    two_processes(
        """
import signal
import lightning.pytorch as pl
from callbacks.run.interrupt import Interrupt
from callbacks.run.last_checkpoint import LastCheckpoint
from datamodules.images import Digits
from zoo import AutoencoderModule

class Press(pl.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.is_global_zero and batch_idx == 1 and trainer.current_epoch == 0:
            signal.raise_signal(signal.SIGTERM)

if __name__ == "__main__":
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=50, default_root_dir={folder!r},
                         callbacks=[Interrupt(), Press()], **quiet)
    try:
        trainer.fit(AutoencoderModule((1, 8, 8)), Digits())
    except (SystemExit, KeyboardInterrupt):
        sys.exit(0)
    sys.exit("not stopped")
"""
    )
    assert torch.load(tmp_path / "checkpoints/interrupted.ckpt", weights_only=True)["epoch"] == 0
