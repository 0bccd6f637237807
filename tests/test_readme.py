"""Every command and program printed in the README and in general pages runs as printed, in order, a section in a
folder of its own.

Three things are added to what is printed: an end after a few epochs where it trains for long, a smaller number of
images where they are made up, and the runs of an earlier section where a section uses them. The two installing commands
are run by ``.ci/run`` in a fresh environment.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA, ROOT
from PIL import Image

README = (ROOT / "README.md").read_text()
PAGES = {name: (ROOT / "docs" / f"{name}.md").read_text() for name in ("install", "command-line", "python", "data")}
TEXT = "\n".join([README, *(f"#{text}" for text in PAGES.values())])  # a page's title is a section's heading
SHELL = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.S) for line in block.splitlines()]
COMMANDS = [line for line in SHELL if "venv" not in line]
PROGRAMS = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", TEXT, re.S))


def sections():
    """Heading to what it has to run, in order: commands, and ``python FILE`` for each program."""
    found = {}
    for heading, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S):
        blocks = re.findall(r"```(sh\n.*?|python\n# \w+\.py\n.*?)```", text, re.S)
        lines = [line for block in blocks for line in printed(*block.split("\n", 1))]
        if lines:
            found[heading] = lines
    return found


def printed(kind, text):
    if kind == "python":
        return [f"python {text.partition(chr(10))[0].removeprefix('# ')}"]
    return [line for line in text.splitlines() if "venv" not in line]


SECTIONS = sections()


def shortened(words):
    """A command with an end after a few epochs, unless what is printed is as short or does not train.

    The length is appended, since later options win; what is printed stays as it is. Noise has 5,000 images unless told.
    """
    words = [*words, "--data.samples", "200"] if "noise" in words else words
    trains = words[2] == "fit" or words[2] == "--module"
    told = int(words[words.index("--trainer.max_epochs") + 1]) if "--trainer.max_epochs" in words else None
    if not trains or "--help" in words or (told is not None and told <= 5):
        return words
    return [*words, "--trainer.max_epochs", "7" if "--ckpt_path" in words else "2"]  # a checkpoint is after five


@pytest.fixture(scope="session")
def begun(run_python, tmp_path_factory):
    """The front door, some photographs, data if they are at hand, and a short run of the first command, twice."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "train.py").write_text((ROOT / "train.py").read_text())
    (folder / "recipes").symlink_to(ROOT / "recipes")
    for i in range(20):
        path = folder / "photos" / ("ants" if i % 2 else "bees") / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (40 + i, 60, 3), dtype=np.uint8)).save(path)
    if DATA is not None and DATA.is_dir():
        (folder / "data").symlink_to(DATA)
    done = run_python(folder / "train.py", "--module", "autoencoder", "--trainer.max_epochs", "2", cwd=folder)
    assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "runs/autoencoder-digits/1", folder / "runs/autoencoder-digits/2")
    return folder


@pytest.fixture
def folder(begun, tmp_path):
    """A copy to work in."""
    shutil.copytree(begun, tmp_path / "readme", symlinks=True)
    for name, text in PROGRAMS.items():
        (tmp_path / "readme" / name).write_text(text)
    return tmp_path / "readme"


def test_two_commands_install_everything():
    installing = re.findall(r"^python3 -m venv.*$", README, re.M)
    assert len(installing) == 2 and all("pip install -e" in line for line in installing)


def test_no_command_or_program_is_left_out():
    lines = [line for section in SECTIONS.values() for line in section]
    assert sorted(lines) == sorted([*COMMANDS, *(f"python {name}" for name in PROGRAMS)])
    assert len(PROGRAMS) == TEXT.count("```python\n") > 3 and len(COMMANDS) > 18


@pytest.mark.long
@pytest.mark.parametrize("heading", SECTIONS)
def test_a_section_runs_as_printed(heading, folder, run_script):
    lines = SECTIONS[heading]
    if makes_runs_it_uses(lines):
        shutil.rmtree(folder / "runs")
    skipped = [line for line in lines if "mnist" in line and not (folder / "data").exists()]
    for line in (line for line in lines if line not in skipped):
        words = shlex.split(line)
        assert words[0] == "python"
        if words[1] == "train.py":
            words = shortened(words)
        done = run_script(folder / words[1], *words[2:], cwd=folder)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    if skipped:
        pytest.skip(f"no data for: {skipped}")


def makes_runs_it_uses(lines):
    """Whether a section needs no runs but those of its own commands."""
    first = next((i for i, line in enumerate(lines) if "runs/autoencoder-digits/" in line), len(lines))
    return first == len(lines) or any("--module autoencoder" in line for line in lines[:first])


@pytest.mark.long
def test_the_first_command_that_trains_runs_in_a_shell_exactly_as_printed(folder):
    command = next(line for line in COMMANDS if "--trainer.max_epochs" in line)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "CUDA_VISIBLE_DEVICES": "",
    }
    options = {"shell": True, "cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": 300}
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stderr
