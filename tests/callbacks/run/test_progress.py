from conftest import quiet_trainer

from callbacks.run.progress import Progress
from datamodules.images import Digits
from zoo import AutoencoderModule


def fit(progress):
    trainer = quiet_trainer(max_epochs=2, enable_progress_bar=True, callbacks=[progress])
    trainer.fit(AutoencoderModule((1, 8, 8)), Digits())
    return trainer


def test_without_a_terminal_lines_say_where_it_is(capsys):
    fit(Progress(line_interval=0))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch")]
    assert len(lines) == 22 and lines[-1].startswith("epoch 2/2  11/11") and "val/loss" in lines[-1]


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
