import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from zoo.core.atomic import atomic_write


def test_folders_are_made_and_the_content_is_there(tmp_path):
    atomic_write(tmp_path / "a/b/c.txt", lambda path: Path(path).write_text("new"))
    assert (tmp_path / "a/b/c.txt").read_text() == "new"


def test_a_failure_leaves_the_old_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def fail(path):
        Path(path).write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        atomic_write(tmp_path / "a.txt", fail)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_a_process_killed_while_writing_leaves_the_old(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    code = (
        "import os, pathlib; from zoo.core.atomic import atomic_write\n"
        "def die(path):\n"
        "    pathlib.Path(path).write_text('half'); os.kill(os.getpid(), 9)\n"
        f"atomic_write({str(tmp_path / 'a.txt')!r}, die)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == -9
    assert (tmp_path / "a.txt").read_text() == "old"
