"""Options are read from source; the parser of Lightning's CLI, which imports the classes, is the reference."""

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

from zoo.cli.options import signature
from zoo.cli.shorthand import load
from zoo.core.renamed import renamed_options
from zoo.registry import CALLBACKS, CHECKPOINT, DATA, MODULES

PATHS = [entry.path for table in (MODULES, DATA) for entry in table.values()]


@pytest.mark.parametrize("path", [*PATHS, *CALLBACKS.values(), CHECKPOINT])
def test_the_options_are_those_of_the_parser(path):
    parser = LightningArgumentParser()
    parser.add_class_arguments(load(path), "x", fail_untyped=False)
    theirs = {a.dest[2:]: a for a in parser._actions if a.dest.startswith("x.") and not a.dest.endswith(".help")}
    ours = signature(path)
    assert set(ours.options) == set(theirs) and ours.complete
    for name, option in ours.options.items():
        words = option.text.split()
        assert words and words == (theirs[name].help or "").split()[: len(words)], name  # of the first paragraph
        assert (option.default is None) == theirs[name].required, name


@pytest.mark.parametrize("path", PATHS)
def test_old_names_are_read_too(path):
    assert signature(path).renamed == renamed_options(load(path))


def test_types_choices_and_parents():
    autoencoder = signature(MODULES["autoencoder"].path)
    assert autoencoder.options["variant"].choices[:2] == ["plain", "denoising"]
    assert signature(MODULES["gan"].path).options["objective"].choices  # by the alias of another module
    assert signature(DATA["folder"].path).options["channels"].choices == ["1", "3"]
    assert autoencoder.options["latent_dim"][1:3] == ("int", "16")
    assert signature(MODULES["finetune"].path).bases[1] == "zoo.modules.supervised.SupervisedModule"


def test_the_trainers_options():
    parser = LightningArgumentParser()
    parser.add_class_arguments(Trainer, "x", fail_untyped=False)
    theirs = {a.dest[2:] for a in parser._actions if a.dest.startswith("x.") and not a.dest.endswith(".help")}
    assert set(signature("lightning.pytorch.trainer.trainer.Trainer").options) >= theirs


def test_own_classes(tmp_path, monkeypatch):
    (tmp_path / "own_options.py").write_text(
        "import zoo.modules.pca as pca\nfrom elsewhere import Unknown\n"
        "class Mine(pca.PCAModule):\n"
        '    """Mine.\n\n    Args:\n        own: Something,\n            of mine.\n    """\n'
        "    def __init__(self, own: int, *, other: float = 1, **options):\n"
        "        super().__init__(whiten=True, **options)\n"
        "class Other(Unknown): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = signature("own_options.Mine")
    assert found.options["own"] == ("own", "int", None, "Something, of mine.") and found.options["other"].default == "1"
    assert "n_components" in found.options and "whiten" not in found.options
    assert found.bases[:2] == ("own_options.Mine", MODULES["pca"].path) and found.summary == "Mine."
    assert not signature("own_options.Other").complete and not signature("no.such.Class").options
