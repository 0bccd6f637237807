"""A project outside has folders ``callbacks/`` and ``datamodules/`` of its own: theirs and ours are found."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

FILES = {
    "mymodel.py": """
from zoo.modules.autoencoder import AutoencoderModule
class Mine(AutoencoderModule):
    pass
""",
    "datamodules/mine.py": """
from datamodules.images import Digits
class MyData(Digits):
    pass
""",
    "callbacks/mine.py": """
import lightning.pytorch as pl
from callbacks.run.progress import Progress  # one of the project's own beside one of ours
class MyCallback(pl.Callback):
    def on_fit_start(self, trainer, pl_module):
        print("mine begins:", type(pl_module).__name__, type(trainer.datamodule).__name__)
""",
    "callbacks/light.py": "WHO = 'callbacks'\n",  # plain scripts need not wait for torch
    "datamodules/light.py": "WHO = 'datamodules'\n",
    "plain.py": """
import zoo
import callbacks, callbacks.light, callbacks.run.charts, datamodules.image_formats, datamodules.light
print(callbacks.light.WHO, datamodules.light.WHO, getattr(callbacks, "OWN", 0))
""",
    "theirs_first.py": """
import callbacks
import zoo
import callbacks.run.charts, callbacks.light, datamodules.light
print(callbacks.light.WHO, datamodules.light.WHO)
""",
    "ours_first.py": """
import callbacks.light, datamodules.light
print(callbacks.light.WHO, datamodules.light.WHO)
""",
    "start.py": (ROOT / "train.py").read_text(),
    "bin/zoo": "from zoo.cli import main\nmain()\n",
}
FIT = (
    *("fit", "--model", "mymodel.Mine", "--data", "datamodules.mine.MyData"),
    *("--trainer.callbacks", "callbacks.mine.MyCallback", "--trainer.fast_dev_run=true", "--trainer.accelerator=cpu"),
)


@pytest.fixture
def project(request, tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    if request.param == "packages":
        for name in ("callbacks", "datamodules"):
            (tmp_path / name / "__init__.py").write_text("OWN = 'theirs'\n")
    return tmp_path


def run(folder, *words, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", **environment}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "project",
    ["namespace folders", pytest.param("packages", marks=(pytest.mark.long, pytest.mark.nightly))],
    indirect=True,
)
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(str(ROOT / "train.py"), id="train.py", marks=(pytest.mark.long, pytest.mark.nightly)),
        pytest.param("start.py", id="own script"),
        pytest.param("bin/zoo", id="zoo", marks=(pytest.mark.long, pytest.mark.nightly)),
    ],
)
def test_the_command_finds_both(project, command):
    assert "mine begins: Mine MyData" in run(project, command, *FIT)


@pytest.mark.parametrize("project", ["namespace folders", "packages"], indirect=True)
def test_plain_python_finds_both(project):
    own = "theirs" if (project / "callbacks/__init__.py").exists() else "0"
    assert run(project, "plain.py") == f"callbacks datamodules {own}\n"
    assert run(project, "theirs_first.py") == "callbacks datamodules\n"
    (project / "elsewhere").mkdir()
    (project / "ours_first.py").rename(project / "elsewhere/ours_first.py")
    path = os.pathsep.join([str(ROOT), str(project)])
    assert run(project, "elsewhere/ours_first.py", PYTHONPATH=path) == "callbacks datamodules\n"


def test_a_single_file_of_that_name_hides_nothing(tmp_path):
    (tmp_path / "callbacks.py").write_text("OWN = 1\n")
    (tmp_path / "plain.py").write_text("import zoo, callbacks, callbacks.run.charts\nprint(callbacks.OWN)\n")
    assert run(tmp_path, "plain.py") == "1\n"


@pytest.mark.parametrize("script", ["start.py", pytest.param("bin/zoo", marks=(pytest.mark.long, pytest.mark.nightly))])
def test_files_of_those_names_may_be_what_the_command_is_given(tmp_path, script):
    """A console script's own folder comes first on Python's path, and the current one after ours."""
    for name in ("start.py", "bin/zoo"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(FILES[name])
    callback, data = (FILES[f"{name}/mine.py"] for name in ("callbacks", "datamodules"))
    (tmp_path / "callbacks.py").write_text(callback)
    (tmp_path / "datamodules.py").write_text(data)
    (tmp_path / "mymodel.py").write_text(FILES["mymodel.py"])
    words = [word.replace("mine.My", "My") for word in FIT]
    assert "mine begins: Mine MyData" in run(tmp_path, script, *words)
