import csv
import json

import lightning.pytorch as pl
import pytest
from conftest import quiet_trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from callbacks.run.history import History
from callbacks.run.report import RunReport, record_failure
from callbacks.run.run_files import read_run
from callbacks.samples.grid import SampleGrid
from datamodules.images import Digits
from zoo import AutoencoderModule


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a short run."""
    folder = tmp_path_factory.mktemp("runs")
    callbacks = [SampleGrid(), RunReport(interval=0), pl.callbacks.LearningRateMonitor()]
    trainer = quiet_trainer(folder, max_epochs=3, callbacks=callbacks, logger=CSVLogger(folder, "a", "1"))
    trainer.fit(AutoencoderModule((1, 8, 8)), data := Digits())
    trainer.test(trainer.lightning_module, data, verbose=False)
    return folder / "a" / "1"


def test_the_page_holds_all_of_the_run(run):
    text = (run / "report.html").read_text()
    facts = json.loads((run / "run.json").read_text())
    assert facts["status"] == "finished" and facts["epochs"] == 3 and len(facts["data_fingerprint"]) == 16
    assert facts["counts"]["test"] == 359 and facts["answer"]["question"] == "Did pretraining pay?"
    assert set(facts["figures"]) >= {"reconstructions", "samples", "interpolations"}
    for expected in ("finished", facts["data_fingerprint"], facts["versions"], "mse", "<b>loss</b>", "lr-Adam"):
        assert expected in text
    assert text.index(">Reconstructions<") < text.index(">Samples<") < text.index(">Interpolations<")
    assert text.count("<img") == 3 and 'http-equiv="refresh"' not in text
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


def test_a_page_exists_while_the_run_goes_on_and_after_it_broke(tmp_path):
    class Breaks(AutoencoderModule):
        def on_train_epoch_start(self):
            if self.current_epoch == 4:
                seen.append((tmp_path / "a/1/report.html").read_text())
                raise ValueError("something <went> wrong")

    class AtEveryValidation(RunReport):
        """However long writing takes."""

        _next = property(lambda self: 0.0, lambda self, value: None)

    seen = []
    trainer = quiet_trainer(max_epochs=5, callbacks=[AtEveryValidation()], logger=CSVLogger(tmp_path, "a", "1"))
    with pytest.raises(ValueError):
        trainer.fit(Breaks((1, 8, 8)), Digits())
    assert 'http-equiv="refresh"' in seen[0] and "Still running" in seen[0] and "<b>loss</b>" in seen[0]
    text = (tmp_path / "a/1/report.html").read_text()
    assert "<b>Stopped.</b> Something &lt;went&gt; wrong." in text and 'http-equiv="refresh"' not in text


def test_a_run_that_fails_before_it_logged_anything_has_a_page(tmp_path):
    class Breaks(AutoencoderModule):
        def on_fit_start(self):
            raise ValueError("no luck")

    trainer = quiet_trainer(callbacks=[RunReport()], logger=CSVLogger(tmp_path, "a", "1"))
    with pytest.raises(ValueError):
        trainer.fit(Breaks((1, 8, 8)), Digits())
    assert "No luck." in (tmp_path / "a/1/report.html").read_text()


def test_a_run_whose_data_cannot_be_prepared_says_so(tmp_path):
    class Missing(Digits):
        def prepare_data(self):
            raise FileNotFoundError("no <folder> there")

    trainer = quiet_trainer(callbacks=[RunReport()], logger=CSVLogger(tmp_path, "a", "1"))
    with pytest.raises(FileNotFoundError):
        trainer.fit(AutoencoderModule((1, 8, 8)), Missing())
    facts = json.loads((tmp_path / "a/1/run.json").read_text())
    assert facts["status"] == "stopped: no <folder> there" and "torch" in facts["versions"]
    assert "No &lt;folder&gt; there." in (tmp_path / "a/1/report.html").read_text()


def test_a_failure_is_recorded_where_nothing_was_written_yet(tmp_path):
    for reason in ("stopped: first", "interrupted"):
        record_failure(tmp_path, reason)
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "stopped: first"
    assert "First." in (tmp_path / "report.html").read_text()


def test_other_loggers_have_a_report_of_the_same_numbers(tmp_path):
    pytest.importorskip("tensorboard")
    found = {}
    for name, logger in (
        ("csv", CSVLogger(tmp_path, "csv", "1")),
        ("board", TensorBoardLogger(tmp_path, "board", "1")),
    ):
        pl.seed_everything(0, verbose=False)
        trainer = quiet_trainer(max_epochs=3, callbacks=[RunReport(interval=0)], logger=logger, log_every_n_steps=4)
        trainer.fit(AutoencoderModule((1, 8, 8)), data := Digits())
        trainer.test(trainer.lightning_module, data, verbose=False)
        found[name] = read_run(tmp_path / name / "1")
        assert "<b>loss</b>" in (tmp_path / name / "1/report.html").read_text()
    assert not (tmp_path / "csv/1/history.csv").exists() and not (tmp_path / "board/1/metrics.csv").exists()
    assert found["board"].curves.keys() == found["csv"].curves.keys()
    for name, points in found["csv"].curves.items():
        assert [pytest.approx(point) for point in points] == found["board"].curves[name]


def test_without_a_logger_nothing_is_written(tmp_path):
    quiet_trainer(tmp_path, callbacks=[RunReport()]).fit(AutoencoderModule((1, 8, 8)), Digits())
    assert not list(tmp_path.iterdir())


def test_the_history_has_a_column_for_each_metric(tmp_path):
    history = History()
    history.log_metrics({"a": 1.0}, 3)
    history.log_metrics({"b/c": 2.5, "a": 2.0}, 4)
    history.write(tmp_path)
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows == [["step", "a", "b/c"], ["3", "1.0", ""], ["4", "2.0", "2.5"]]
