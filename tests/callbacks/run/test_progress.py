import lightning.pytorch as pl
from conftest import quiet_trainer

from callbacks.run.progress import Progress
from datamodules.images import Digits
from zoo import AutoencoderModule


def fit(progress, callbacks=(), **options):
    trainer = quiet_trainer(**{"max_epochs": 2, **options}, enable_progress_bar=True, callbacks=[progress, *callbacks])
    trainer.fit(AutoencoderModule((1, 8, 8)), Digits())
    return trainer


def lines_of(capsys, **options):
    fit(Progress(line_interval=0), **options)
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith(("epoch", "step"))]


def test_without_a_terminal_lines_say_where_it_is(capsys):
    lines = lines_of(capsys)
    training = [line for line in lines if "validating" not in line]
    assert len(training) == 22 and training[-1].startswith("epoch 2/2  11/11") and "val/loss" in training[-1]
    assert len(lines) == 26 and lines[-1].startswith("epoch 2/2  validating 2/2")  # two batches after each epoch
    assert " left" not in lines[0] and all(" left" in line for line in lines[1:])


def test_steps_are_counted_where_they_end_the_training(capsys):
    lines = lines_of(capsys, max_epochs=-1, max_steps=15, limit_val_batches=0)
    assert lines[0].startswith("step 1/15") and lines[-1].startswith("step 15/15  0 s left")
    assert lines_of(capsys, max_epochs=1, max_steps=15, limit_val_batches=0)[-1].startswith("epoch 1/1  11/11")


def test_a_training_without_an_end_has_no_time_left(capsys):
    stop = type("Stop", (pl.Callback,), {"on_train_epoch_end": lambda self, trainer, module: setattr(
        trainer, "should_stop", True)})()  # fmt: skip
    lines = lines_of(capsys, max_epochs=-1, callbacks=[stop], limit_val_batches=0)
    assert lines[-1].startswith("epoch 1  11/11") and not any(" left" in line for line in lines)


def test_training_that_may_stop_early_takes_at_most_so_long(capsys):
    lines = lines_of(capsys, callbacks=[pl.callbacks.EarlyStopping("val/loss")])
    assert " at most 0 s left" in lines[-1]


def test_the_clock_and_not_the_step_decides(capsys):
    fit(Progress(line_interval=1000))
    assert "epoch" not in capsys.readouterr().err


def test_on_a_terminal_there_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    fit(Progress(interval=0))
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown and "11/11" in shown


def test_it_is_the_trainers_progress_bar_and_can_be_silenced(capsys):
    progress = Progress(line_interval=0)
    progress.disable()
    assert fit(progress).progress_bar_callback is progress
    assert "epoch" not in capsys.readouterr().err
