import importlib
import sys

import pytest

from zoo.core.shared_packages import SharedPackages


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Ours and theirs, which hold a package of one name; theirs is on the path."""
    for side in ("ours", "theirs"):
        (tmp_path / side / "shared_x").mkdir(parents=True)
        (tmp_path / side / "shared_x/plain_folder").mkdir()
        (tmp_path / side / f"shared_x/{side}.py").write_text(f"WHO = '{side}'\n")
        (tmp_path / side / "shared_x/both.py").write_text(f"WHO = '{side}'\n")
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.syspath_prepend(tmp_path / "theirs")
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "shared_x"]:
        del sys.modules[name]


def who(name):
    return importlib.import_module(f"shared_x.{name}").WHO


@pytest.mark.parametrize("early", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("package", [False, True], ids=["namespace", "package"])
def test_modules_of_both_are_found_whoever_is_first(folders, package, early):
    if package:
        (folders / "theirs/shared_x/__init__.py").touch()
    if early:
        importlib.import_module("shared_x")
    with pytest.warns(UserWarning, match=r"^both\.py in .*theirs.shared_x hidden by files of pretraining-zoo"):
        for _ in range(2):  # a second one does no harm
            SharedPackages(folders / "ours", ["shared_x"]).install()
        assert [who(name) for name in ("ours", "theirs", "both")] == ["ours", "theirs", "ours"]


def test_only_names_that_are_shared(folders):
    finder = SharedPackages(folders / "ours", ["shared_y"])
    assert finder.find_spec("shared_x") is None and finder.find_spec("shared_y") is None


@pytest.mark.parametrize("kind", ["namespace", "package", "file"])
def test_theirs_is_found_behind_ours_on_the_path(folders, kind, monkeypatch):
    if kind == "package":
        (folders / "theirs/shared_x/__init__.py").write_text("OWN = 1")
    (folders / "ours/shared_x/__init__.py").touch()
    place = folders / "theirs"
    if kind == "file":
        place = folders / "elsewhere"
        place.mkdir()
        (place / "shared_x.py").write_text("OWN = 1")
    monkeypatch.setattr(sys, "path", [str(folders / "ours"), *sys.path[1:], str(place)])
    (folders / "theirs/shared_x/both.py").unlink()
    SharedPackages(folders / "ours", ["shared_x"]).install()
    assert who("ours") == "ours" and (kind == "file" or who("theirs") == "theirs")
    assert hasattr(importlib.import_module("shared_x"), "OWN") == (kind != "namespace")
