from pathlib import Path

import pytest

from zoo.files import write_whole


def test_folders_are_made_and_the_content_is_there(tmp_path):
    write_whole(tmp_path / "a/b/c.txt", lambda path: Path(path).write_text("new"))
    assert (tmp_path / "a/b/c.txt").read_text() == "new"


def test_a_failure_leaves_the_old_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def fail(path):
        Path(path).write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "a.txt", fail)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"
