import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import quiet_trainer
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from callbacks.run.report import RunReport
from callbacks.run.report_page import compare, page, read_curves, read_run
from callbacks.samples.grid import SampleGrid
from datamodules.images import Digits
from zoo import AutoencoderModule

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a short run."""
    folder = tmp_path_factory.mktemp("runs")
    callbacks = [SampleGrid(), RunReport(interval=0)]
    trainer = quiet_trainer(folder, max_epochs=3, callbacks=callbacks, logger=CSVLogger(folder, "a", "1"))
    trainer.fit(AutoencoderModule((1, 8, 8)), data := Digits())
    trainer.test(trainer.lightning_module, data, verbose=False)
    return folder / "a" / "1"


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.seen = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def test_the_page_holds_all_and_fetches_nothing(run):
    text = (run / "report.html").read_text()
    tags = Tags(text).seen
    assert not [tag for tag, _ in tags if tag in ("script", "link", "iframe")]
    sources = [attributes["src"] for tag, attributes in tags if "src" in attributes]
    assert len(sources) == 3 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.findall(r'(?:href|url)\s*[=(]\s*"?https?://[^w]', text)
    facts = json.loads((run / "run.json").read_text())
    assert facts["status"] == "finished" and facts["epochs"] == 3 and len(facts["data_fingerprint"]) == 16
    assert facts["counts"]["test"] == 359 and facts["answer"]["question"] == "Did pretraining pay?"
    for expected in (
        *(str(fact) for fact in facts.values() if not isinstance(fact, dict | float)),
        "test/mse",
        "loss",
        "<svg",
    ):
        assert expected.replace("&", "&amp;") in text or expected in text
    assert 'http-equiv="refresh"' not in text
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


def test_a_page_exists_while_the_run_goes_on_and_after_it_broke(tmp_path):
    class Breaks(AutoencoderModule):
        def on_train_epoch_start(self):
            if self.current_epoch == 2:
                seen.append((tmp_path / "a/1/report.html").read_text())
                raise ValueError("something <went> wrong")

    seen = []
    trainer = quiet_trainer(max_epochs=5, callbacks=[RunReport(interval=0)], logger=CSVLogger(tmp_path, "a", "1"))
    with pytest.raises(ValueError):
        trainer.fit(Breaks((1, 8, 8)), Digits())
    assert 'http-equiv="refresh"' in seen[0] and "running" in seen[0] and "<svg" in seen[0]
    assert "stopped: something &lt;went&gt; wrong" in (tmp_path / "a/1/report.html").read_text()


def test_half_a_line_and_no_numbers_are_passed_over(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss,val/loss\n0,1,2.5,\n0,2,oops,3.0\n1,3,1.5,nan\n1,4")
    curves = read_curves(path)
    assert curves["train/loss"] == [(1, 2.5), (3, 1.5)] and curves["val/loss"][0] == (2, 3.0)
    path.write_text("")
    assert read_curves(path) == {}
    assert "None yet" in page([read_run(tmp_path)])


def test_folders_that_are_no_runs_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no metrics\.csv"):
        read_run(tmp_path)
    (tmp_path / "metrics.csv").write_text("epoch,step,val/loss\n0,1,2.5\n")
    (tmp_path / "run.json").write_text('{"status": "fin')
    with pytest.raises(ValueError, match=r"run\.json is damaged .*: delete it"):
        read_run(tmp_path)


def test_two_runs_stand_side_by_side(run, tmp_path):
    other = tmp_path / "b" / "2"
    shutil.copytree(run, other)
    text = compare([str(run), str(other)], str(tmp_path / "both.html")).read_text()
    assert text.count("<img") == 6 and "<th>a/1</th><th>b/2</th>" in text
    row = re.search(r"<tr><th>test/mse</th>(.*?)</tr>", text)[1]
    first, second = re.findall(r">([\d.e-]+)</td>", row)
    assert first == second and float(first) > 0


def test_in_a_browser(run, tmp_path):
    if BROWSER is None:
        pytest.skip("no chromium is installed: the page was not looked at in a browser")
    # A script in a copy of the page says what the browser made of it.
    probe = """<script>document.title = [...document.images].filter(i => i.naturalWidth > 50).length + " figures, " +
        [...document.querySelectorAll("svg")].filter(s => s.getBoundingClientRect().width > 100).length + " curves, " +
        (document.documentElement.scrollWidth <= window.innerWidth ? "fits" : "too wide")</script>"""
    copy = tmp_path / "copy.html"
    copy.write_text((run / "report.html").read_text().replace("</body>", probe + "</body>"))
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    look = [BROWSER, *options, "--window-size=1000,1500"]
    done = subprocess.run([*look, "--dump-dom", copy.as_uri()], capture_output=True, text=True, timeout=120)
    assert re.search(r"<title>(.*?)</title>", done.stdout)[1] == "3 figures, 4 curves, fits"
    shot = tmp_path / "shot.png"
    subprocess.run([*look, f"--screenshot={shot}", copy.as_uri()], capture_output=True, timeout=120, check=True)
    pixels = np.asarray(Image.open(shot).convert("L"))
    assert pixels.shape[0] >= 1000 and pixels.std() > 20
