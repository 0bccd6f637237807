"""Every command and program printed in the README runs as printed, in one folder and in order.

The two installing commands are run by ``.ci/run`` in a fresh environment.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA, ROOT
from PIL import Image

README = (ROOT / "README.md").read_text()
SHELL = [line for block in re.findall(r"```sh\n(.*?)```", README, re.S) for line in block.splitlines()]
COMMANDS = [line for line in SHELL if "venv" not in line]
PROGRAMS = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", README, re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the front door, the README's own files, some photographs, and data if they are at hand."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "train.py").write_text((ROOT / "train.py").read_text())
    (folder / "recipes").symlink_to(ROOT / "recipes")
    for name, text in PROGRAMS:
        (folder / name).write_text(text)
    for i in range(20):
        path = folder / "photos" / ("ants" if i % 2 else "bees") / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (40 + i, 60, 3), dtype=np.uint8)).save(path)
    if DATA.is_dir():
        (folder / "data").symlink_to(DATA)
    return folder


def run(folder, command):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_two_commands_install_everything():
    installing = [line for line in SHELL if "venv" in line]
    assert len(installing) == 2 and all("pip install -e" in line for line in installing)


def test_commands_run_as_printed(folder):
    skipped = [line for line in COMMANDS if "mnist" in line and not DATA.is_dir()]
    for command in (line for line in COMMANDS if line not in skipped):
        done = run(folder, command)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    if skipped:
        pytest.skip(f"no data for: {skipped}")


@pytest.mark.parametrize("name", [name for name, _ in PROGRAMS])
def test_programs_run_as_printed(folder, name):
    done = run(folder, f"python {name}")
    assert done.returncode == 0, done.stderr
