import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest
from conftest import ROOT

from zoo.cli.main import _with_checkpoint_file, main

HEAVY = "{'torch', 'lightning', 'yaml', 'jsonargparse', 'numpy', 'rich'}"
CODE = f"""
import sys
from zoo.cli import main
try:
    main(sys.argv[1:])
finally:
    found = {HEAVY} & set(sys.modules)
    assert not found, found
"""


@pytest.mark.parametrize(
    "words, says",
    [
        ((), "report RUN"),
        (("--help",), "report RUN"),
        (("list",), "modules (--module NAME)"),
        (("--module", "nothing"), "unknown module 'nothing'"),
        (("fti",), "did you mean 'fit'"),
        (("--data", "digits"), "say which technique"),
        (("report",), "say which runs"),
        (("export", "a", "--format", "onx"), "did you mean 'onnx'"),
        (("report", "--help"), "usage: python train.py report RUN"),
        (("export", "-h"), "usage: python train.py export PATH"),
        (("list", "-h"), "usage: python train.py list"),
        (("--version",), "pretraining-zoo "),
        (("autoencoder",), "say --module autoencoder"),
        (("train",), "did you mean 'fit'"),
        (("-m", "som"), "did you mean '--module'"),
        (("fit",), "say which technique: fit --module NAME"),
        (("--module", "autoencoder", "--data", "folder"), "--data folder needs --data.root"),
        (("--module", "autoencoder", "--data", "nowhere/"), "no file or folder 'nowhere/'"),
        (("--module", "autoencoder", "--module.lr=abc"), "--module.lr: a number is expected; got 'abc'"),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, tuple) else None,
)
def test_help_lists_and_mistakes_are_answered_before_anything_heavy_is_loaded(words, says):
    done = subprocess.run([sys.executable, "-c", CODE, *words], cwd=ROOT, capture_output=True, text=True)
    assert says in done.stdout + done.stderr and "AssertionError" not in done.stderr
    assert done.returncode == (2 if done.stderr else 0)


def test_no_file_imports_one_that_imports_it():
    graph = {}
    for path in (ROOT / "zoo" / "cli").glob("*.py"):
        imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        names = [f"{node.module}.{alias.name}" for node in imports for alias in node.names]
        graph[path.stem] = {name.split(".")[2] for name in names if name.startswith("zoo.cli.")}
    assert list(TopologicalSorter(graph).static_order())[-1] == "__init__"


@pytest.mark.parametrize("package", ["torch", "lightning"])
def test_what_is_not_installed_is_said_in_one_line(package):
    """As with a Python that is not the project's environment."""
    code = f"import sys; sys.modules[{package!r}] = None; from zoo.cli import main; main(['--module', 'som'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {package} is not installed for {sys.executable}: ")


@pytest.mark.parametrize("command", ["test", "validate", "predict"])
def test_an_untrained_network_is_refused(command, capsys):
    with pytest.raises(SystemExit) as error:
        main([command, "--module", "pca"])
    assert error.value.code == 2
    assert f"error: {command} needs a trained network: --ckpt_path runs/" in capsys.readouterr().err


def test_a_runs_folder_is_its_best_checkpoint_or_to_go_on_its_newest(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for seconds, name in enumerate(("last", "best")):
        (tmp_path / f"checkpoints/{name}.ckpt").touch()
        os.utime(tmp_path / f"checkpoints/{name}.ckpt", (seconds, 10 - seconds))
    words = ["--ckpt_path", str(tmp_path), "--module", "pca"]
    found = {command: _with_checkpoint_file([command, *words])[-1] for command in ("test", "fit")}
    assert found == {"test": f"--ckpt_path={tmp_path}/checkpoints/best.ckpt",
                     "fit": f"--ckpt_path={tmp_path}/checkpoints/last.ckpt"}  # fmt: skip
