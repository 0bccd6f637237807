import os
from collections import Counter

import pytest
from PIL import Image

from datamodules.image_listing import describe, find_images, list_images, plain_text, shown


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, "PNG")
    return path


def names(root):
    return [str(path.relative_to(root)) for path in find_images(root)]


def test_endings_in_any_case_however_deep(tmp_path):
    for name in ("b/deep/x.PNG", "a.jfif", "c.JPE", "c/y.TIFF"):
        image(tmp_path / name)
    assert names(tmp_path) == ["a.jfif", "b/deep/x.PNG", "c/y.TIFF", "c.JPE"]


def test_everything_else_is_counted_by_kind(tmp_path):
    for name in ("a.png", "1.heic", "2.HEIC", "x.txt", "README", ".DS_Store", ".git/a.png", "b/x.TXT"):
        image(tmp_path / name)
    (tmp_path / "dead.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "known.csv").touch()
    images, left_out = list_images(tmp_path, [tmp_path / "known.csv"])
    assert images == [tmp_path / "a.png"]
    counts = {".heic": 2, ".txt": 2, "hidden": 2, "without an ending": 1, "link to nothing": 1}
    assert left_out == Counter(counts | {"neither file nor folder": 1})
    assert "2 .heic (to read them: pip install pillow-heif)" in describe(left_out)


def test_linked_folders_and_files_are_followed(tmp_path):
    image(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "ants").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "2.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    assert names(tmp_path / "root") == ["2.png", "ants/1.png"]


def test_links_that_lead_back_end(tmp_path):
    image(tmp_path / "a" / "b" / "1.png")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "round").symlink_to("round")
    images, left_out = list_images(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in images] == ["a/b/1.png"]
    assert left_out == {"link to a folder that is there already": 2, "link to nothing": 1}


def test_the_folder_itself_comes_before_a_link_to_it(tmp_path):
    image(tmp_path / "z" / "deep" / "1.png")
    (tmp_path / "a").symlink_to(tmp_path / "z" / "deep")
    assert names(tmp_path) == ["z/deep/1.png"]


def test_a_folder_that_cannot_be_opened_is_counted(tmp_path, monkeypatch):
    image(tmp_path / "open" / "1.png")
    (tmp_path / "shut").mkdir()
    scandir = os.scandir

    def refusing(path):
        if path.name == "shut":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    images, left_out = list_images(tmp_path)
    assert len(images) == 1 and left_out == {"folder that cannot be opened": 1}


@pytest.mark.parametrize(
    "name, line", [("a\nb.png", "a\\nb.png"), ("a\x1b[31m.png", "a\\x1b[31m.png"), ("é.png", "é.png")]
)
def test_odd_names_fit_in_a_line(tmp_path, name, line):
    image(tmp_path / name)
    assert [shown(path.name) for path in find_images(tmp_path)] == [line]


def test_names_that_are_no_text_can_be_written(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    image(tmp_path / name)
    assert names(tmp_path) == [name] and plain_text(name) == shown(name) == "caf\\xe9.png"
